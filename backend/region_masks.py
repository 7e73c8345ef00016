"""Turns the regions that annotators saved into masks: brush, bitmask and polygon.

https://labelstud.io/guide/export says what a region's result holds.
"""

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.brush_rle import BrushRleError, decode_mask
from backend.outlines import pixels_inside

MASK_SHAPES = ("brush", "bitmask", "polygon")
"""What draws a mask. A rectangle only says where to look."""

_MAX_PIXELS = 178_000_000  # of the largest image that can be read at all
_PNG_URL = "data:image/png;base64,"


class UnreadableRegionError(ValueError):
    """The region gives no mask; the message is the reason, the same for all such regions."""


def region_mask(result: Mapping[str, Any], shape: str) -> NDArray[np.bool_]:
    """The mask that one result of an annotation draws.

    Args:
        result: as Label Studio saved it.
        shape: one of MASK_SHAPES.

    Returns:
        bool (H, W), of the size the result gives for its image.

    Raises:
        UnreadableRegionError: It is damaged, or of another size than its image.
    """
    height, width = _image_size(result)
    if result.get("image_rotation"):
        # Where its pixels lie in the file, editors disagree about.
        raise UnreadableRegionError("image was rotated in the editor")
    value = result.get("value")
    if not isinstance(value, Mapping):
        raise UnreadableRegionError("region without a value")
    if shape == "brush":
        return _brush_mask(value, height, width)
    if shape == "bitmask":
        return _bitmask_mask(value, height, width)
    return _polygon_mask(value, height, width)


def _image_size(result: Mapping[str, Any]) -> tuple[int, int]:
    height, width = result.get("original_height"), result.get("original_width")
    if not isinstance(height, int) or not isinstance(width, int):
        raise UnreadableRegionError("region without its image's size")
    if min(height, width) < 1 or height * width > _MAX_PIXELS:
        raise UnreadableRegionError("region of an impossible image size")
    return height, width


def _brush_mask(value: Mapping[str, Any], height: int, width: int) -> NDArray[np.bool_]:
    rle = value.get("rle")
    if not isinstance(rle, list) or not rle:
        raise UnreadableRegionError("brush region without rle")
    try:
        return decode_mask(rle, height, width)
    except BrushRleError as error:
        words = int.from_bytes(bytes(rle[:4]), "big") if _are_bytes(rle[:4]) else 0
        if words not in {0, height * width * 4}:
            raise UnreadableRegionError("brush mask of another size than its image") from error
        raise UnreadableRegionError("damaged brush mask") from error


def _are_bytes(numbers: list[Any]) -> bool:
    return all(isinstance(number, int) and 0 <= number <= 255 for number in numbers)


def _bitmask_mask(value: Mapping[str, Any], height: int, width: int) -> NDArray[np.bool_]:
    url = value.get("imageDataURL")
    if not isinstance(url, str) or not url.startswith(_PNG_URL):
        raise UnreadableRegionError("bitmask region without a PNG")
    try:
        png = base64.b64decode(url[len(_PNG_URL) :], validate=True)
    except binascii.Error as error:
        raise UnreadableRegionError("damaged bitmask") from error
    # Before anything is allocated: the PNG's header names its size.
    if [int.from_bytes(png[start : start + 4], "big") for start in (16, 20)] != [width, height]:
        raise UnreadableRegionError("bitmask of another size than its image")
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8 or pixels.shape != (height, width, 4):
        raise UnreadableRegionError("damaged bitmask")
    return pixels[..., 3] > 127


def _polygon_mask(value: Mapping[str, Any], height: int, width: int) -> NDArray[np.bool_]:
    """The pixels whose centres lie inside; points are in percent, and rounded to half pixels."""
    points = value.get("points")
    if not isinstance(points, list) or not all(_is_point(point) for point in points):
        raise UnreadableRegionError("damaged polygon")
    if len(points) < 3:
        return np.zeros((height, width), dtype=np.bool_)
    percent = np.clip(np.array(points, dtype=np.float64), 0, 100)
    half_pixels = np.rint(percent / 100 * (2 * width, 2 * height)).astype(np.int32)
    return pixels_inside(half_pixels, (height, width))


def _is_point(point: object) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(
            isinstance(number, int | float)
            and not isinstance(number, bool)
            and math.isfinite(number)
            for number in point
        )
    )
