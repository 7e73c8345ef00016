"""Encodes masks as Label Studio's BitmaskLabels keep them.

https://labelstud.io/tags/bitmasklabels: a PNG as a data URL, black pixels on a transparent
background, of the image's own size.
"""

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

_COMPRESSION = 6
"""zlib's level: on masks a quarter of the size that level 1 gives, in the same time."""


def encode_bitmask(mask: NDArray[np.bool_]) -> str:
    """The data URL of a PNG whose alpha channel is the mask.

    Args:
        mask: (H, W) bool.

    Returns:
        "data:image/png;base64,..." of an RGBA image with 8 bits per channel, all its colours black,
        as the editor writes it itself.
    """
    pixels = np.zeros((*mask.shape, 4), dtype=np.uint8)
    pixels[..., 3] = mask * np.uint8(255)
    _, png = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, _COMPRESSION])
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()
