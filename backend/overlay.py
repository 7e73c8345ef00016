"""A small picture of an image with masks on it, for people to look at."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# At this size and quality even noise stays under 1 MiB; a photo takes about 100 kB.
MAX_SIDE = 1024
_JPEG_QUALITY = 80
_COLOUR = (255, 64, 64)
_OPACITY = 0.5


def overlay_jpeg(image: Image.Image, masks: Sequence[NDArray[np.bool_]]) -> bytes:
    """Draws masks over an image, reduced to at most MAX_SIDE pixels a side.

    Args:
        image: RGB, upright.
        masks: bool (H, W) each, of the image's size; none shows the image alone.

    Returns:
        A JPEG file without metadata.
    """
    scale = min(1.0, MAX_SIDE / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    colour = Image.new("RGB", size, _COLOUR)
    for mask in masks:
        alpha = Image.fromarray(mask.astype(np.uint8) * round(255 * _OPACITY))
        small.paste(colour, mask=alpha.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
    file = io.BytesIO()
    # A new image: nothing of the original's metadata, such as the place it was taken, goes along.
    clean = Image.new("RGB", size)
    clean.paste(small)
    clean.save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()
