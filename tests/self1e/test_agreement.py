from pathlib import Path

import pytest
import torch

from self1e.adapter import load_adapted
from self1e.agreement import FormerAnswers, PhotoScene, agreement, ask_former
from self1e.metrics import bootstrap_interval
from self1e.predictor import Predictor
from self1e.predictor import expected_iou as own_expected_iou
from self1e.replay import GENERAL_PROMPTS, SAMPLE_PHOTOS, draw, expected_iou, replay_prompts

SCENES = [PhotoScene(photo) for photo in SAMPLE_PHOTOS]


def test_prompts_that_share_a_word_with_what_is_taught_are_not_replayed() -> None:
    prompts = replay_prompts(["the car's wheel", "Shoe"], former=["the hood", "a red wheel"])
    assert "the car" not in prompts
    assert "the shoes" not in prompts
    assert "a red wheel" not in prompts
    assert "the hood" in prompts
    assert "the cat" in prompts
    assert len(set(GENERAL_PROMPTS)) == len(GENERAL_PROMPTS)


def test_draws_depend_on_the_seed_alone() -> None:
    prompts = list(GENERAL_PROMPTS)
    assert draw(prompts, 5, "a") == draw(prompts, 5, "a") != draw(prompts, 5, "b")
    assert sorted(draw(prompts, 1000, "a")) == sorted(prompts)


def test_the_iou_to_expect_of_its_own_mask_is_the_predictors() -> None:
    logits = torch.randn(8, 8, generator=torch.Generator().manual_seed(0)) * 3
    assert expected_iou(logits > 0, logits.sigmoid()) == pytest.approx(own_expected_iou(logits))
    empty = torch.full((8, 8), -4.0)
    assert expected_iou(empty > 0, empty.sigmoid()) == pytest.approx(own_expected_iou(empty))


def test_nothing_is_right_as_far_as_nothing_is_seen_clearly() -> None:
    probability = torch.zeros(20, 20)
    probability[0, :4] = torch.tensor([0.9, 0.7, 0.3, 0.1])  # the likeliest hundredth
    assert expected_iou(torch.zeros(20, 20, dtype=torch.bool), probability) == pytest.approx(0.5)


def test_only_answers_count_that_the_model_was_sure_of() -> None:
    seen = torch.zeros(4, 20, 20)
    seen[0, :10] = 0.9  # sure of it
    seen[1, :10] = 0.6  # a guess
    seen[2, 0, 0] = 0.6  # almost surely nothing
    seen[3, :10] = 0.45  # nothing, but it might be
    answers = FormerAnswers(
        SCENES[0], ("a", "b", "c", "d"), (seen * 255).to(torch.uint8), seen > 0.5
    )
    answers.masks[2] = False
    sure = answers.sure()
    assert sure.prompts == ("a", "c")
    assert sure.own_ious == pytest.approx([0.9, 0.85], abs=0.01)
    torch.testing.assert_close(sure.masks, answers.masks[[0, 2]])
    torch.testing.assert_close(sure.probabilities, answers.probabilities[[0, 2]])


def test_the_iou_to_expect_of_another_mask() -> None:
    probability = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    assert expected_iou(torch.tensor([[True, True, False, False]]), probability) == 1
    assert expected_iou(torch.tensor([[True, False, False, False]]), probability) == 0.5
    assert expected_iou(torch.tensor([[False, False, True, False]]), probability) == 0
    assert expected_iou(torch.zeros(1, 4, dtype=torch.bool), probability) == 0


def test_a_mask_that_is_nearly_as_good_counts_as_the_same() -> None:
    seen = torch.zeros(1, 20, 20)
    seen[0, :10] = 1
    answers = FormerAnswers(SCENES[0], ("a",), (seen * 255).to(torch.uint8), seen > 0.5)
    masks = torch.zeros(3, 20, 20, dtype=torch.bool)
    masks[0, :10], masks[0, 10, :9] = True, True  # 209 places in place of 200
    masks[1, :10], masks[1, 10:11] = True, True  # 220
    assert answers.agreement(masks[:1]) == [1]
    assert answers.agreement(masks[1:2]) == [pytest.approx(200 / 220)]
    assert answers.agreement(masks[2:]) == [0]


def test_a_model_agrees_with_itself_and_another_does_not(
    tiny_predictor: Predictor, tiny_directory: Path
) -> None:
    former = ask_former(tiny_predictor, SCENES, list(GENERAL_PROMPTS), count=10, seed=0)
    assert [len(answers.prompts) for answers in former] == [10] * 4
    own = [iou for answers in former for iou in answers.own_ious]
    same = load_adapted(tiny_directory, None, device="cpu")
    again = [iou for ious in agreement(same, former) for iou in ious]
    assert again == pytest.approx(own, abs=0.01)
    with torch.no_grad():
        same.model.mask_head.fuse.second.weight.neg_()
        same.model.mask_head.fuse.second.bias.neg_()
    other = [iou for ious in agreement(same, former) for iou in ious]
    # g is in both the features and the query: turned round in both, their product is the same.
    assert other == pytest.approx(own, abs=0.01)
    with torch.no_grad():
        same.model.mask_head.fuse.first.weight.neg_()
    other = [iou for ious in agreement(same, former) for iou in ious]
    assert sum(other) / len(other) < 0.8 * sum(own) / len(own)


def test_the_interval_draws_photos_not_prompts() -> None:
    alone = bootstrap_interval([[0.0], [1.0]] * 50)
    together = bootstrap_interval([[0.0] * 25 + [1.0] * 25] * 2)
    assert alone[0] < 0.45
    assert alone[1] > 0.55
    assert together == pytest.approx((0.5, 0.5))
    low, high = bootstrap_interval([[1.0, 2.0, 3.0]])
    assert low == high == 2
    assert bootstrap_interval([[0.0], [1.0]] * 50) == alone
    with pytest.raises(ValueError, match="no samples to compare"):
        bootstrap_interval([])
