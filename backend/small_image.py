"""A small copy of an image that outlives the image itself, to show what was found in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.overlay import overlay_jpeg

_SIDE = 96


@dataclass(frozen=True)
class SmallImage:
    """An image of at most 96 pixels a side: RGB, upright, without metadata."""

    pixels: Image.Image

    @classmethod
    def of(cls, image: Image.Image) -> "SmallImage":
        """A small copy of an upright RGB image."""
        scale = min(1.0, _SIDE / max(image.size))
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return cls(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))

    @property
    def nbytes(self) -> int:
        """Memory it holds, in bytes."""
        return 3 * self.pixels.width * self.pixels.height

    def with_masks(self, masks: Sequence[NDArray[np.bool_]]) -> bytes:
        """A JPEG file of it under masks.

        Args:
            masks: bool (H, W) each, of the full image's size.
        """
        small = [
            cv2.resize(mask.view(np.uint8), self.pixels.size, interpolation=cv2.INTER_NEAREST)
            for mask in masks
        ]
        return overlay_jpeg(self.pixels, [np.asarray(mask, dtype=np.bool_) for mask in small])
