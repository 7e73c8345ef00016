"""Held-out samples with made-up answers, for what shows them."""

from pathlib import Path

import numpy as np

from backend.report_pictures import Answer, HeldOutResult, reduced_mask
from self1e.dataset import SegmentationSample

_MASK = reduced_mask(np.zeros((4, 6), dtype=np.bool_))


def held_out(
    before: float,
    after: float,
    *,
    photo: str = "1.jpg",
    prompt: str = "the cat",
    label: str = "Cat",
    task_id: int = 1,
) -> HeldOutResult:
    """A result whose files do not exist."""
    sample = SegmentationSample(Path(photo), prompt, Path(photo).with_suffix(".png"))
    return HeldOutResult(sample, task_id, label, Answer(before, _MASK), Answer(after, _MASK))
