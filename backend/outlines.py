"""Polygons and boxes around masks, in the coordinates of pixel edges.

The pixel of row y and column x covers x to x + 1 and y to y + 1, so that an image of width W goes
from 0 to W: a mask of one pixel has a polygon and a box of that pixel's size, and a mask that
touches the border reaches it.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.mask_cleanup import bounding_box

MIN_IOU = 0.97
MAX_POINTS = 500

_FINEST_TOLERANCE = 0.5
"""In half pixels. Less moves no point: all lie on whole or half pixels."""


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels: its left and top edge, its width and height."""

    left: int
    top: int
    width: int
    height: int


def mask_box(mask: NDArray[np.bool_]) -> Box:
    """The smallest box around all of a mask, bool (H, W); of no size if the mask is empty."""
    top, left, bottom, right = bounding_box(mask) or (0, 0, 0, 0)
    return Box(left, top, right - left, bottom - top)


def mask_polygons(mask: NDArray[np.bool_], limit: int) -> list[NDArray[np.float64]]:
    """One polygon per outer contour of a mask, the largest first.

    Each is as simple as it can be while its intersection over union with what the contour encloses
    stays at least MIN_IOU, and with it the IoU of all polygons together. Two things are excepted.
    A polygon has no holes: what lies inside a contour counts as filled. And a contour so ragged
    that this would take more than MAX_POINTS points gets at most that many all the same.

    Args:
        mask: (H, W) bool.
        limit: most polygons to return.

    Returns:
        Arrays (N, 2) of x and y in pixels, N >= 3, the last point not repeating the first.
    """
    box = bounding_box(mask)
    if box is None:
        return []
    top, left, bottom, right = box
    contours = _outer_contours(mask[top:bottom, left:right])
    contours.sort(key=cv2.contourArea, reverse=True)
    return [_simplified(contour) / 2 + (left, top) for contour in contours[:limit]]


def _outer_contours(mask: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    """The outer contours along pixel edges, arrays (N, 2) of x and y in half pixels.

    OpenCV joins the centres of pixels. On a grid of half pixels, where each pixel covers its
    corners, its edges and its centre, the outermost centres are the pixel's corners.
    """
    height, width = mask.shape
    grid = np.zeros((2 * height + 1, 2 * width + 1), dtype=np.uint8)
    grid[1::2, 1::2] = mask
    grid = cv2.dilate(grid, np.ones((3, 3), dtype=np.uint8)).astype(np.uint8, copy=False)
    contours, _ = cv2.findContours(grid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [contour[:, 0].astype(np.int32, copy=False) for contour in contours]


def _simplified(contour: NDArray[np.int32]) -> NDArray[np.int32]:
    """The coarsest of a row of simplifications that is close enough to the contour.

    Tolerances start at half the contour's size and halve from there. Where all that are close
    enough have too many points it is the finest that has not.
    """
    step = math.ceil(len(contour) / MAX_POINTS)
    finest: NDArray[np.int32] = contour[::step]
    origin = contour.min(axis=0)
    shifted = contour - origin
    width, height = shifted.max(axis=0)
    wanted = pixels_inside(shifted, (height // 2, width // 2))
    tolerance = max(width, height) / 2
    while tolerance >= _FINEST_TOLERANCE:
        simple = cv2.approxPolyDP(shifted, tolerance, closed=True)[:, 0].astype(np.int32)
        if len(simple) > MAX_POINTS:
            return finest
        if len(simple) >= 3:
            finest = simple + origin
            if _iou(simple, wanted) >= MIN_IOU:
                return finest
        tolerance /= 2
    return contour if step == 1 else finest


def pixels_inside(polygon: NDArray[np.int32], size: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels whose centres lie inside a polygon (even-odd rule).

    Args:
        polygon: int32 (N, 2), x and y in half pixels: even numbers are pixel edges.
        size: (height, width) in pixels.

    Returns:
        Bool (height, width).
    """
    height, width = size
    start, end = polygon, np.roll(polygon, -1, axis=0)
    downwards = (start[:, 1] <= end[:, 1])[:, None]
    upper, lower = np.where(downwards, start, end), np.where(downwards, end, start)
    # The rows of pixels whose centre line, at 2 * row + 1, is crossed: upper <= line < lower.
    first, last = upper[:, 1] // 2, lower[:, 1] // 2
    counts = last - first
    edges = np.repeat(np.arange(len(polygon)), counts)
    rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edges]
    run = (lower - upper)[edges].astype(np.float64)
    x = upper[edges, 0] + (2 * rows + 1 - upper[edges, 1]) * run[:, 0] / run[:, 1]
    # Every crossing turns inside to outside for the pixels whose centre is right of it.
    columns = np.clip(np.ceil((x - 1) / 2), 0, width).astype(np.int64)
    turns = np.zeros((height, width + 1), dtype=np.uint8)
    np.bitwise_xor.at(turns, (rows, columns), 1)
    return np.bitwise_xor.accumulate(turns, axis=1)[:, :width].astype(np.bool_)


def _iou(polygon: NDArray[np.int32], wanted: NDArray[np.bool_]) -> float:
    """The least intersection over union that a polygon (half pixels) has with a mask.

    A pixel whose centre lies on an edge, as along every diagonal, is inside for one program and
    outside for the next. Seen in the mirror such pixels change sides; they count against it.
    """
    height, width = wanted.shape
    seen = pixels_inside(polygon, wanted.shape)
    mirrored = np.array([2 * width, 2 * height], dtype=np.int32) - polygon
    seen_in_mirror = pixels_inside(mirrored, wanted.shape)[::-1, ::-1]
    union = np.count_nonzero(seen | seen_in_mirror | wanted)
    return np.count_nonzero(seen & seen_in_mirror & wanted) / union
