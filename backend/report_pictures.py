"""The held-out photos that a fine-tuning changed most, as small pictures of the masks.

The models before and after are never in memory together, and which photos changed is known only
after both. So every answer's mask is kept, reduced to some hundred bytes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from backend.overlay import overlay_jpeg
from backend.training_samples import PackedMask
from self1e.dataset import SegmentationSample
from self1e.image import load_image

MOST_SHOWN = 10
_LONG_SIDE = 320  # of a picture, in pixels: even noise stays under 100 kB
_RIM = 5  # twice the rim's width and one, in pixels


@dataclass(frozen=True)
class Answer:
    """A model's answer about a held-out sample: its IoU, 0..1, and its mask (`reduced_mask`)."""

    iou: float
    mask: PackedMask


@dataclass(frozen=True)
class HeldOutResult:
    """A held-out sample, its task and label ("" for none), and what was answered."""

    sample: SegmentationSample
    task_id: int
    label: str
    before: Answer
    after: Answer

    @property
    def difference(self) -> float:
        """Of the IoUs; above 0 the new version is better."""
        return self.after.iou - self.before.iou


@dataclass(frozen=True)
class Pictures:
    """A held-out photo three times, as JPEG files: with both answers, and with the truth."""

    result: HeldOutResult
    before: bytes
    after: bytes
    truth: bytes


def reduced_mask(mask: NDArray[np.bool_]) -> PackedMask:
    """A mask, bool (H, W), of the size of the pictures."""
    height, width = mask.shape
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    reduced = picture.resize(_size(width, height), Image.Resampling.BOX)
    return PackedMask.pack(np.asarray(reduced) > 127)


def most_changed(
    results: Sequence[HeldOutResult],
) -> tuple[list[HeldOutResult], list[HeldOutResult]]:
    """The samples that became better and those that became worse, the largest change first.

    At most MOST_SHOWN each, and of a photo one in each: many prompts about one photo would hide the
    others.
    """
    improved = [result for result in results if result.difference > 0]
    worsened = [result for result in results if result.difference < 0]
    improved.sort(key=lambda result: (-result.difference, result.task_id))
    worsened.sort(key=lambda result: (result.difference, result.task_id))
    return _first_of_photos(improved), _first_of_photos(worsened)


def draw_pictures(result: HeldOutResult) -> Pictures:
    """Draws the masks over the photo.

    Raises:
        SamplesError, OSError: the photo or its mask cannot be read.
    """
    photo = load_image(result.sample.image)
    small = photo.resize(_size(*photo.size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    truth = reduced_mask(result.sample.load_mask())
    before, after, true = (
        _overlay(small, mask.unpack()) for mask in (result.before.mask, result.after.mask, truth)
    )
    return Pictures(result, before, after, true)


def _overlay(photo: Image.Image, mask: NDArray[np.bool_]) -> bytes:
    """The mask with a white rim, which shows it on red things, too."""
    marked = Image.fromarray(mask.astype(np.uint8) * 255)
    rim = ImageChops.subtract(marked.filter(ImageFilter.MaxFilter(_RIM)), marked)
    rimmed = photo.copy()
    rimmed.paste((255, 255, 255), mask=rim)
    return overlay_jpeg(rimmed, [mask])


def _first_of_photos(results: Iterable[HeldOutResult]) -> list[HeldOutResult]:
    first: dict[Path, HeldOutResult] = {}
    for result in results:
        first.setdefault(result.sample.image, result)
    return list(first.values())[:MOST_SHOWN]


def _size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, _LONG_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
