"""The training loss written once more, mask by mask and token by token, from the formulas."""

import math

import torch
from torch import Tensor

from tests.self1e.naive_reference import resize

IGNORED = -100


def answer_loss(hidden: list[Tensor], lm_head: Tensor, labels: list[Tensor]) -> float:
    """Mean negative log likelihood of the answer tokens of all sequences, (L, C) and (L,) each."""
    surprises = []
    for states, wanted in zip(hidden, labels, strict=True):
        for position in range(len(wanted) - 1):
            token = int(wanted[position + 1])
            if token != IGNORED:
                logits = lm_head @ states[position]
                surprises.append(float(logits.logsumexp(dim=0) - logits[token]))
    return sum(surprises) / len(surprises)


def shrink(truth: Tensor) -> Tensor:
    """(N, H, W) with a short side of at most 128."""
    height, width = truth.shape[1:]
    scale = min(1.0, 128 / min(height, width))
    return resize(truth, (round(height * scale), round(width * scale)))


def mask_loss(logits: list[Tensor], truth: list[Tensor]) -> tuple[float, float]:
    """BCE and dice, averaged over masks (h, w); `truth` at the size after `shrink`."""
    bce = dice = 0.0
    for found, wanted in zip(logits, truth, strict=True):
        full = resize(found[None], (wanted.shape[0], wanted.shape[1]))[0]
        p = 1 / (1 + torch.exp(-full.double()))
        t = wanted.double()
        bce += float(-(t * p.log() + (1 - t) * (1 - p).log()).mean())
        overlap, total = float((p * t).sum()) / 1000, float((p + t).sum()) / 1000
        dice += 1 - (2 * overlap + 1e-6) / (total + 1e-6)
    if not math.isfinite(bce):
        raise ValueError("A logit is too large for the naive formula")
    return bce / len(logits), dice / len(logits)
