import json
import random
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.request_body import without_masks

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just('"rle":[1,2]'),
    lambda values: st.lists(values) | st.dictionaries(st.text() | st.just("format"), values),
)


def test_masks_are_emptied_and_all_else_is_kept() -> None:
    region = {"value": {"rle": [1, 2, 255], "format": "rle"}, "meta": {"text": ['"rle":[1]']}}
    body = {"tasks": [{"annotations": [{"result": [region, region]}], "data": {"rle": "x"}}]}
    emptied = {"value": {"rle": [], "format": "rle"}, "meta": {"text": ['"rle":[1]']}}
    expected = {"tasks": [{"annotations": [{"result": [emptied, emptied]}], "data": {"rle": "x"}}]}
    for text in (
        json.dumps(body),
        json.dumps(body, separators=(",", ":")),
        json.dumps(body, indent=2),
    ):
        assert json.loads(without_masks(text.encode())) == expected


@given(JSON)
def test_a_body_without_masks_stays_as_it_is(value: object) -> None:
    body = json.dumps(value).encode()
    assert without_masks(body) == body


@pytest.mark.timeout(60)
def test_other_threads_get_their_turn_while_a_large_body_is_read() -> None:
    masks = [random.randrange(256) for _ in range(200_000)]
    body = json.dumps({"tasks": [{"rle": masks}] * 60}).encode()
    waits: list[float] = []
    ended = threading.Event()

    def look() -> None:
        before = time.perf_counter()
        while not ended.wait(0.001):
            waits.append(time.perf_counter() - before)
            before = time.perf_counter()

    thread = threading.Thread(target=look)
    thread.start()
    light = without_masks(body)
    ended.set()
    thread.join()
    assert len(light) < 1000 < 40_000_000 < len(body)
    # Label Studio waits one second for /health.
    assert max(waits) < 0.5
