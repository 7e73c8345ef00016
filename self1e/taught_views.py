"""Views of taught photos: cropped, mirrored and recoloured, with what can be asked of each.

A prompt keeps its truth: photos whose prompts name a side are never mirrored, and a prompt is not
asked where a crop has cut most of its object away.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from self1e.dataset import SamplesError, SegmentationSample
from self1e.image import load_image, tile_image
from self1e.losses import TARGET_SHORT_SIDE

# Sides in the languages that prompts are most often written in.
_SIDE = re.compile(
    r"\b(left|right(?!s)|link[es]|recht[es]|gauche|droite?|izquierd|derech|sinistr|destr|esquerd|direit)"
    r"|[左右]",
    re.IGNORECASE,
)
_LONG_SIDE = 1024  # photos are brought down to this first
_SMALLEST_CROP = 0.6  # of either side
_STRETCH = 1.15  # most that a crop's sides change against each other
_STILL_SEEN = 0.5  # share of an object that a crop must leave for it to be asked for
_COLOUR = (0.75, 1.25)


@dataclass(frozen=True)
class PhotoLesson:
    """A photo and what is taught about it: samples of this image, maybe none."""

    photo: Path
    samples: tuple[SegmentationSample, ...]


@dataclass(frozen=True)
class TaughtView:
    """A view of a photo on its tile grid.

    Attributes:
        pixel_values: float32 (T, 3, S, S).
        grid: (rows, cols) of tiles.
        prompts: P prompts that can be asked.
        masks: their truths, squashed as the pixels are, uint8 (P, h, w), 0..255.
        counted: bool (h, w), False where a pixel does not count.
    """

    pixel_values: torch.Tensor
    grid: tuple[int, int]
    prompts: tuple[str, ...]
    masks: torch.Tensor
    counted: torch.Tensor


def lessons(samples: Sequence[SegmentationSample]) -> list[PhotoLesson]:
    """Samples by photo, in the photos' order."""
    ordered = sorted(samples, key=lambda sample: (str(sample.image), sample.prompt))
    return [
        PhotoLesson(photo, tuple(group))
        for photo, group in groupby(ordered, key=lambda sample: sample.image)
    ]


def names_a_side(prompt: str) -> bool:
    """Whether a mirrored photo would make the prompt's answer wrong."""
    return _SIDE.search(prompt) is not None


def make_view(
    lesson: PhotoLesson, rng: Random, tile_size: int, max_tiles: int, *, augment: bool
) -> TaughtView:
    """Makes one view.

    Args:
        lesson: the photo.
        rng: where the draws come from.
        tile_size: side of a tile in pixels.
        max_tiles: most tiles of a photo.
        augment: whether to crop, mirror and recolour; otherwise the photo as it is.

    Raises:
        SamplesError: a mask cannot be read or has another size than the photo.
        OSError: the photo cannot be read.
    """
    image = load_image(lesson.photo)
    full_size = (image.height, image.width)
    image.thumbnail((_LONG_SIDE, _LONG_SIDE), Image.Resampling.BICUBIC)
    masks = [_load(sample, full_size, image.size) for sample in lesson.samples]
    ignored = [
        _fit(~known, image.size)
        for sample in lesson.samples
        if (known := sample.load_counted()) is not None
    ]
    window = (0, 0, image.width, image.height)
    kept = list(range(len(masks)))
    if augment:
        drawn = _draw_window(image.size, rng)
        seen = [index for index, mask in enumerate(masks) if _is_seen(mask, drawn)]
        if seen or not masks:
            window, kept = drawn, seen
    mirror = (
        augment
        and rng.random() < 0.5
        and not any(names_a_side(sample.prompt) for sample in lesson.samples)
    )

    def cut(picture: Image.Image) -> Image.Image:
        inside = picture.crop(window)
        return inside.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirror else inside

    pixels = cut(image)
    if augment:
        pixels = _recolour(pixels, rng)
    pixel_values, grid = tile_image(pixels, tile_size, max_tiles)
    size = _mask_size(grid)
    counted = torch.ones(size[1], size[0], dtype=torch.bool)
    truths = [_shrunk(cut(masks[index]), size) for index in kept]
    for each in ignored:
        counted &= _shrunk(cut(each), size) < 128
    return TaughtView(
        pixel_values=pixel_values,
        grid=grid,
        prompts=tuple(lesson.samples[index].prompt for index in kept),
        masks=torch.stack(truths) if truths else torch.zeros(0, *counted.shape, dtype=torch.uint8),
        counted=counted,
    )


def _load(
    sample: SegmentationSample, full_size: tuple[int, int], size: tuple[int, int]
) -> Image.Image:
    mask = sample.load_mask()
    if mask.shape != full_size:
        raise SamplesError(
            f"{sample.mask} is {mask.shape}, but {sample.image} {full_size} (height, width)"
        )
    return _fit(mask, size)


def _fit(mask: NDArray[np.bool_], size: tuple[int, int]) -> Image.Image:
    """A mask as an 8-bit picture of a size (width, height)."""
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BOX)


def _draw_window(size: tuple[int, int], rng: Random) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) inside a picture of a size (width, height)."""
    share, stretch = rng.uniform(_SMALLEST_CROP, 1), rng.uniform(1 / _STRETCH, _STRETCH)
    width = max(1, min(size[0], round(size[0] * share * stretch)))
    height = max(1, min(size[1], round(size[1] * share / stretch)))
    left, top = rng.randint(0, size[0] - width), rng.randint(0, size[1] - height)
    return left, top, left + width, top + height


def _is_seen(mask: Image.Image, window: tuple[int, int, int, int]) -> bool:
    whole = np.asarray(mask, dtype=np.int64).sum()
    inside = np.asarray(mask.crop(window), dtype=np.int64).sum()
    return bool(inside >= _STILL_SEEN * whole)


def _recolour(image: Image.Image, rng: Random) -> Image.Image:
    for change in (ImageEnhance.Color, ImageEnhance.Contrast, ImageEnhance.Brightness):
        image = change(image).enhance(rng.uniform(*_COLOUR))
    return image


def _mask_size(grid: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of masks on a tile grid, the short side as in the loss."""
    rows, cols = grid
    scale = TARGET_SHORT_SIDE // min(rows, cols)
    return cols * scale, rows * scale


def _shrunk(picture: Image.Image, size: tuple[int, int]) -> torch.Tensor:
    resized = picture.resize(size, Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(resized).copy())
