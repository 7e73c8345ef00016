"""Photos with a bright square on noise, and its mask: something a tiny model can be taught."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from self1e.dataset import SegmentationSample

WIDTH, HEIGHT, SIDE = 96, 72, 36


def square_photo(seed: int) -> tuple[Image.Image, NDArray[np.bool_]]:
    """A photo and the mask of its square, which lies anywhere."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 90, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    top, left = rng.integers(0, HEIGHT - SIDE), rng.integers(0, WIDTH - SIDE)
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    mask[top : top + SIDE, left : left + SIDE] = True
    pixels[mask] = (240, 200, 40)
    return Image.fromarray(pixels), mask


def write_samples(
    directory: Path, seeds: range, prompt: str = "the square"
) -> list[SegmentationSample]:
    """Writes photos and masks of some seeds."""
    directory.mkdir(parents=True, exist_ok=True)
    samples = []
    for seed in seeds:
        photo, mask = square_photo(seed)
        paths = directory / f"{seed}.png", directory / f"{seed}-mask.png"
        photo.save(paths[0])
        Image.fromarray(mask.astype(np.uint8) * 255).save(paths[1])
        samples.append(SegmentationSample(paths[0], prompt, paths[1]))
    return samples
