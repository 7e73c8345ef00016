from dataclasses import replace

import pytest

from backend.gate import Comparison, judge, label_warning

BETTER = Comparison(12, 30, 0.3, 0.6, 0.2, 0.4, 0.35, 0.6)
KEPT = Comparison(16, 100, 0.9, 0.89, -0.03, 0.01)


def test_better_on_the_one_and_within_the_margin_on_the_other_passes() -> None:
    verdict = judge(BETTER, KEPT, measure="agreement", margin=0.02)
    assert verdict.passed
    assert str(verdict) == "passed"


@pytest.mark.parametrize("low", [0.0, -0.01])
def test_a_difference_that_may_be_chance_is_refused(low: float) -> None:
    verdict = judge(replace(BETTER, low=low), KEPT, measure="agreement", margin=0.02)
    assert not verdict.passed
    assert "not better beyond chance: gIoU 0.300 -> 0.600" in str(verdict)


@pytest.mark.parametrize(
    ("measure", "named"), [("truth", "the replay samples"), ("agreement", "not taught")]
)
def test_more_than_the_margin_forgotten_is_refused(measure: str, named: str) -> None:
    forgot = replace(KEPT, giou_after=0.87)
    verdict = judge(
        BETTER, forgot, measure="truth" if measure == "truth" else "agreement", margin=0.02
    )
    assert not verdict.passed
    assert named in str(verdict)
    assert judge(BETTER, forgot, measure="agreement", margin=0.04).passed


def test_keeping_less_may_help_one_that_only_forgets() -> None:
    forgot, no_better = replace(KEPT, giou_after=0.87), replace(BETTER, low=-0.01)

    def may_help(held_out: Comparison, general: Comparison, warning: str = "") -> bool:
        verdict = judge(held_out, general, measure="agreement", margin=0.02, warning=warning)
        return verdict.less_may_pass

    assert may_help(BETTER, forgot)
    assert not may_help(BETTER, KEPT)
    assert not may_help(no_better, forgot)
    assert not may_help(BETTER, forgot, "inverted")


def test_a_warning_about_the_labels_refuses_what_the_figures_let_pass() -> None:
    verdict = judge(BETTER, KEPT, measure="agreement", margin=0.02, warning="inverted")
    assert str(verdict) == "inverted"


def test_inverted_masks_are_noticed_and_large_things_are_not() -> None:
    inverted, small, sky = (0.9, 0.8), (0.0, 0.1), (0.6, 0.4)
    assert "3 of 4 masks" in label_warning([inverted] * 3 + [small])
    assert label_warning([inverted] * 2 + [small] * 2) == ""
    assert label_warning([sky] * 4) == ""
    assert label_warning([]) == ""
