"""From a photo to the vision tower's input: tile grid, tiles, normalised pixel values.

Source: paper section 3.1 and InternVL's dynamic preprocessing, without the thumbnail tile.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


def load_image(source: str | Path | BinaryIO) -> Image.Image:
    """Reads a photo as upright RGB: the EXIF orientation is applied, as browsers do.

    Raises:
        OSError: the file is missing or is not an image that Pillow reads.
    """
    with Image.open(source) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def choose_grid(height: int, width: int, tile_size: int, max_tiles: int) -> tuple[int, int]:
    """The tile grid (rows, cols) with 1 <= rows * cols <= max_tiles nearest in aspect ratio.

    Of two equally near grids the one with more tiles wins if the image's area is more than half
    of that grid's.
    """
    grids = sorted(
        (
            (rows, cols)
            for rows in range(1, max_tiles + 1)
            for cols in range(1, max_tiles // rows + 1)
        ),
        key=lambda grid: grid[0] * grid[1],
    )
    aspect = width / height
    best, best_distance = (1, 1), float("inf")
    for rows, cols in grids:
        distance = abs(aspect - cols / rows)
        larger_fits = height * width > 0.5 * tile_size * tile_size * rows * cols
        if distance < best_distance or (distance == best_distance and larger_fits):
            best, best_distance = (rows, cols), distance
    return best


def normalise(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (..., H, W, 3) in 0..255 to float32 (..., 3, H, W), ImageNet mean 0 and deviation 1."""
    scaled = (pixels.astype(np.float32) / 255.0 - IMAGENET_MEAN) / IMAGENET_STD
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(scaled, -1, -3)))


def tile_image(
    image: Image.Image, tile_size: int, max_tiles: int = 1
) -> tuple[torch.Tensor, tuple[int, int]]:
    """Squashes an image onto its tile grid and cuts it.

    Args:
        image: upright RGB, any size.
        tile_size: side of a square tile in pixels.
        max_tiles: most tiles of the grid; 1 squashes the whole image into one tile.

    Returns:
        pixel_values: float32 (T, 3, tile_size, tile_size), tiles row by row.
        grid: (rows, cols), T = rows * cols.
    """
    rows, cols = choose_grid(image.height, image.width, tile_size, max_tiles)
    resized = image.convert("RGB").resize(
        (cols * tile_size, rows * tile_size), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(resized).reshape(rows, tile_size, cols, tile_size, 3)
    tiles = pixels.transpose(0, 2, 1, 3, 4).reshape(rows * cols, tile_size, tile_size, 3)
    return normalise(tiles), (rows, cols)
