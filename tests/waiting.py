"""Waits of tests for what other processes and threads do."""

import threading
import time
from collections.abc import Callable

_LOOK_SECONDS = 0.1


def wait_until(
    condition: Callable[[], bool], seconds: float = 120, *, failure: Callable[[], str] = str
) -> None:
    """Fails with what `failure` says if the condition does not come true in time."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, failure()
        pause.wait(_LOOK_SECONDS)
