import pytest
import torch
from torch import Tensor

from self1e.losses import (
    IGNORE_LABEL,
    SOFT_WEIGHT,
    MaskLosses,
    answer_loss,
    answer_positions,
    mask_losses,
    reduce_target,
    weighted_total,
)
from self1e.mask_head import MaskLogits
from tests.self1e import naive_losses


def logits(masks: int, side: int = 8, seed: int = 0) -> MaskLogits:
    rng = torch.Generator().manual_seed(seed)
    return MaskLogits(
        final=torch.randn(masks, 2 * side, 2 * side, generator=rng),
        low=torch.randn(masks, side, side, generator=rng),
    )


def test_mask_losses_equal_the_formulas() -> None:
    runs, truth = (
        [logits(2, seed=1), logits(1, seed=2)],
        [torch.ones(2, 20, 30), torch.eye(24)[None]],
    )
    truth[0][:, :9] = 0
    found = mask_losses(runs, truth)
    wanted = [mask for masks in truth for mask in masks]
    parts = [
        naive_losses.mask_loss([m for run in scale for m in run], wanted)
        for scale in ([run.final for run in runs], [run.low for run in runs])
    ]
    assert float(found.bce) == pytest.approx(parts[0][0] + parts[1][0], rel=1e-5)
    assert float(found.dice) == pytest.approx(parts[0][1] + parts[1][1], rel=1e-5)


def test_total_weighs_its_parts() -> None:
    ce, bce, dice = (torch.tensor(value) for value in (1.0, 10.0, 100.0))
    assert float(weighted_total(ce, MaskLosses(bce, dice))) == 1 + 20 + 50


def test_pixels_that_do_not_count_change_nothing() -> None:
    found, truth = logits(1, side=4), torch.zeros(1, 16, 16)
    truth[:, :6, :8] = 1
    counted = torch.ones(1, 16, 16)
    counted[:, :, 8:] = 0
    other = torch.where(counted.bool(), truth, 1 - truth)

    def losses(target: Tensor, run: MaskLogits) -> tuple[float, float]:
        result = mask_losses([run], [target], [counted])
        return float(result.bce), float(result.dice)

    # Logits far from the border between what counts and what does not: resizing blends them.
    changed = MaskLogits(found.final, found.low.clone())
    changed.low[:, :, 3] += 5
    assert losses(truth, found) == losses(other, found)
    assert losses(truth, found) == pytest.approx(losses(truth, changed))


def test_counting_all_equals_counting_none_away() -> None:
    found, truth = logits(2), torch.eye(16).expand(2, -1, -1)
    plain = mask_losses([found], [truth])
    counted = mask_losses([found], [truth], [torch.ones(2, 16, 16)])
    torch.testing.assert_close((plain.bce, plain.dice), (counted.bce, counted.dice))


@pytest.mark.parametrize("counts", [0.0, 1.0])
@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_empty_target_has_a_finite_loss_and_gradient(counts: float, scale: float) -> None:
    final = (scale * torch.randn(1, 16, 16)).requires_grad_()
    result = mask_losses(
        [MaskLogits(final, final[:, ::2, ::2])],
        [torch.zeros(1, 16, 16)],
        [torch.full((1, 16, 16), counts)],
    )
    total = result.bce + result.dice
    total.backward()
    assert total.isfinite()
    assert final.grad is not None
    assert final.grad.isfinite().all()


def test_a_soft_target_is_met_where_the_loss_is_least() -> None:
    probability = torch.full((1, 16, 16), 0.3)
    met = probability.logit().requires_grad_()
    low = met[:, ::2, ::2]
    result = mask_losses([MaskLogits(met, low)], [probability], soft=[torch.tensor([True])])
    (result.bce + result.dice).backward()
    assert met.grad is not None
    torch.testing.assert_close(met.grad, torch.zeros_like(met), atol=1e-6, rtol=0)


def test_a_soft_target_leaves_the_other_masks_their_loss() -> None:
    found, truth = logits(2), torch.eye(16).expand(2, -1, -1)
    both = mask_losses([found], [truth], soft=[torch.tensor([False, True])])
    first, second = (
        mask_losses([MaskLogits(found.final[[at]], found.low[[at]])], [truth[[at]]])
        for at in (0, 1)
    )
    torch.testing.assert_close(both.dice, first.dice / 2)
    torch.testing.assert_close(both.bce, (first.bce + SOFT_WEIGHT * second.bce) / 2)


def test_no_mask_at_all_has_no_loss() -> None:
    result = mask_losses([logits(0)], [torch.zeros(0, 16, 16)])
    assert (float(result.bce), float(result.dice)) == (0, 0)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((128, 300), (128, 300)),
        ((40, 60), (40, 60)),
        ((256, 512), (128, 256)),
        ((1000, 333), (384, 128)),
    ],
)
def test_target_is_reduced_to_128_on_its_short_side(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    reduced = reduce_target(torch.ones(2, *size))
    assert tuple(reduced.shape) == (2, *expected)
    torch.testing.assert_close(reduced, torch.ones(2, *expected))


def test_answer_is_predicted_from_the_position_before() -> None:
    labels = torch.tensor([[IGNORE_LABEL, IGNORE_LABEL, 5, 6], [IGNORE_LABEL, 7, 8, IGNORE_LABEL]])
    positions, tokens = answer_positions(labels)
    assert positions.tolist() == [[False, True, True, False], [True, True, False, False]]
    assert tokens.tolist() == [5, 6, 7, 8]


def test_answer_loss_is_the_mean_surprise() -> None:
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]])
    loss = answer_loss(probabilities.log().bfloat16(), torch.tensor([0, 1]))
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx((0.6931 + 2.0794) / 2, rel=1e-2)
