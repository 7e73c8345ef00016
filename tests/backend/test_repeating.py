"""Work that a thread repeats."""

import threading

import pytest

from backend.repeating import repeating


def test_it_is_done_at_once_and_again_until_the_context_closes() -> None:
    calls: list[int] = []
    third = threading.Event()

    def action() -> None:
        calls.append(len(calls))
        if len(calls) == 3:
            third.set()

    with repeating(action, 0.01, "test"):
        assert third.wait(10)
    assert not [thread for thread in threading.enumerate() if thread.name == "test"]


def test_closing_does_not_wait_for_the_pause() -> None:
    called = threading.Event()
    with repeating(called.set, 3600, "test"):
        assert called.wait(10)
    assert not [thread for thread in threading.enumerate() if thread.name == "test"]


def test_it_ends_also_when_the_block_fails() -> None:
    with pytest.raises(KeyError), repeating(lambda: None, 3600, "test"):
        raise KeyError
    assert not [thread for thread in threading.enumerate() if thread.name == "test"]
