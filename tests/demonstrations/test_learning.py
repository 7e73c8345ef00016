from dataclasses import replace
from pathlib import Path

import pytest

from backend.gate import Comparison
from self1e.dataset import SegmentationSample
from self1e.evaluate import SampleResult
from tests.demonstrations.learning import ALL, Learning, compare_groups


def results(*ious: float, photo: str = "a") -> list[SampleResult]:
    """One sample per IoU, all about one photo."""
    return [
        SampleResult(
            SegmentationSample(Path(photo), str(number), Path("mask")), iou, score=1.0, empty=False
        )
        for number, iou in enumerate(ious)
    ]


def comparison(before: float, after: float, low: float = 0.01) -> Comparison:
    return Comparison(photos=9, samples=20, giou_before=before, giou_after=after, low=low, high=0.9)


GOOD = Learning(
    version="demo-00000000+1",
    verdict="passed",
    forced=False,
    minutes=19.9,
    taught_photos=60,
    aside={ALL: comparison(0.125, 0.375)},
    general={ALL: comparison(0.5, 0.485, low=-0.1)},
)


def test_groups_are_compared_one_by_one_and_all_together() -> None:
    before = {"wheel": results(0.2, 0.4), "hood": results(0.0, photo="b")}
    after = {"hood": results(0.9, photo="b"), "wheel": results(0.5, 0.7)}
    compared = compare_groups(before, after)
    assert list(compared) == [ALL, "wheel", "hood"]
    assert (compared[ALL].photos, compared[ALL].samples) == (2, 3)
    assert compared[ALL].giou_before == pytest.approx(0.2)
    assert compared[ALL].giou_after == pytest.approx(0.7)
    # Whole photos are drawn: two of "a", or two of "b", at the ends.
    assert (compared[ALL].low, compared[ALL].high) == pytest.approx((0.3, 0.9))
    assert (compared["wheel"].low, compared["wheel"].high) == pytest.approx((0.3, 0.3))
    assert compared["wheel"].difference == pytest.approx(0.3)
    assert compare_groups({}, {}) == {}


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, None),
        ({"aside": {ALL: comparison(0.125, 0.32)}}, "parts"),
        ({"aside": {ALL: comparison(0.125, 0.375, low=0.0)}}, "parts"),
        ({"general": {ALL: comparison(0.5, 0.475)}}, "general"),
        ({"minutes": 20.0}, "minutes"),
        ({"forced": True}, "gate"),
    ],
)
def test_a_claim_that_does_not_hold_is_named(
    changes: dict[str, object], missed: str | None
) -> None:
    learning = replace(GOOD, **changes)  # type: ignore[arg-type]
    wrong = [name for name, holds in learning.claims().items() if not holds]
    assert len(learning.claims()) == 4
    if missed is None:
        assert not wrong
    else:
        assert len(wrong) == 1
        assert missed in wrong[0]
        assert f"NO  {wrong[0]}" in learning.table()


def test_without_general_samples_nothing_is_claimed_of_them() -> None:
    claims = replace(GOOD, general={}).claims()
    assert len(claims) == 3
    assert all(claims.values())
