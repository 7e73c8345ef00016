"""The training loss: 1.0 * CE + 2.0 * BCE + 0.5 * dice (paper section 3.5).

BCE and dice are each summed over the final and the low-resolution logits, both brought to the
size of the ground truth, whose short side is reduced to 128 pixels first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from self1e.mask_head import MaskLogits

CE_WEIGHT, BCE_WEIGHT, DICE_WEIGHT = 1.0, 2.0, 0.5
TARGET_SHORT_SIDE = 128
IGNORE_LABEL = -100
DICE_SCALE, DICE_EPS = 1000.0, 1e-6
SOFT_WEIGHT = 1.5
"""Of the BCE of a mask whose target is soft: it lacks dice, most of another mask's gradient."""


@dataclass(frozen=True)
class MaskLosses:
    """Means over the masks, scalars."""

    bce: Tensor
    dice: Tensor


def weighted_total(ce: Tensor, masks: MaskLosses) -> Tensor:
    """The loss that is minimised."""
    return CE_WEIGHT * ce + BCE_WEIGHT * masks.bce + DICE_WEIGHT * masks.dice


def answer_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits (M, V) against the tokens that follow, int64 (M,)."""
    return functional.cross_entropy(logits.float(), targets)


def answer_positions(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Where the answer is predicted from.

    Args:
        labels: int64 (B, L), -100 where there is no answer.

    Returns:
        bool (B, L), True at the position before each answer token, and the tokens int64 (M,).
    """
    following = functional.pad(labels[:, 1:], (0, 1), value=IGNORE_LABEL)
    return following != IGNORE_LABEL, following[following != IGNORE_LABEL]


def reduce_target(mask: Tensor) -> Tensor:
    """A ground truth (N, H, W) in 0..1 with its short side brought down to 128, bilinear."""
    height, width = mask.shape[-2:]
    scale = TARGET_SHORT_SIDE / min(height, width)
    if scale >= 1:
        return mask
    return _resize(mask, (round(height * scale), round(width * scale)))


def mask_losses(
    logits: Sequence[MaskLogits],
    targets: Sequence[Tensor],
    counted: Sequence[Tensor | None] | None = None,
    soft: Sequence[Tensor] | None = None,
) -> MaskLosses:
    """BCE and dice, averaged over all masks.

    A soft target is another model's probabilities. Its BCE is least where it is met; dice is least
    where each pixel is decided, so that it would teach to be sure of what the other was not.

    Args:
        logits: runs of masks that share a size.
        targets: for each run float (N, H, W) in 0..1, short side at most 128 (`reduce_target`).
        counted: for each run float (N, H, W), 0 where a pixel does not count; None counts all.
        soft: for each run bool (N,), True where the target is soft; None: nowhere.
    """
    masks = max(1, sum(len(run) for run in targets))
    bce = torch.zeros((), device=targets[0].device)
    dice = torch.zeros((), device=targets[0].device)
    weights = counted or [None] * len(targets)
    marks = soft or [torch.zeros(len(run), dtype=torch.bool, device=run.device) for run in targets]
    for run, target, weight, mark in zip(logits, targets, weights, marks, strict=True):
        share = 1 + (SOFT_WEIGHT - 1) * mark
        for scale in (run.final, run.low):
            resized = _resize(scale.float(), (target.shape[-2], target.shape[-1]))
            bce = bce + (_bce(resized, target, weight) * share).sum() / masks
            dice = dice + _dice(resized, target, weight)[~mark].sum() / masks
    return MaskLosses(bce, dice)


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[
        :, 0
    ]


def _bce(logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if weight is None:
        return loss.mean(dim=(1, 2))
    return (loss * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp(min=1)


def _dice(logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    probability = logits.sigmoid()
    if weight is not None:
        probability, target = probability * weight, target * weight
    overlap = (probability / DICE_SCALE * target).sum(dim=(1, 2))
    total = (probability / DICE_SCALE).sum(dim=(1, 2)) + (target / DICE_SCALE).sum(dim=(1, 2))
    return 1 - (2 * overlap + DICE_EPS) / (total + DICE_EPS)
