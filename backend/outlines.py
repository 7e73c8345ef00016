"""Polygons and boxes around masks, in the coordinates of pixel edges.

The pixel of row y and column x covers x to x + 1 and y to y + 1, so that an image of width W goes
from 0 to W: a mask of one pixel has a polygon and a box of that pixel's size, and a mask that
touches the border reaches it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.mask_cleanup import bounding_box, largest_pieces

MIN_IOU = 0.97
MAX_POINTS = 2000

_FEWEST_POINTS = 3
_MOST_HOLES = 100
_FILLED_SHARE = (1 - MIN_IOU) / 2
"""Holes of together less than this share of a piece are filled; the rest of what MIN_IOU allows is
for the simplification."""
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
    """One polygon per piece of a mask, the largest first.

    Each is as simple as it can be while its intersection over union with the piece stays at least
    MIN_IOU, and with it the IoU of all polygons together. Holes that this needs to stay open are
    cut out: the outline goes in to the hole, around it the other way, and back on the same line,
    so that both rules of filling (even-odd and winding) leave it empty. Only a piece so ragged that
    this would take more than MAX_POINTS points gets at most that many all the same.

    Args:
        mask: (H, W) bool.
        limit: most polygons to return.

    Returns:
        Arrays (N, 2) of x and y in pixels, N >= 3, the last point not repeating the first.
    """
    return [
        _piece_polygon(piece.mask) / 2 + (piece.left, piece.top)
        for piece in largest_pieces(mask, limit)
    ]


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


def _piece_polygon(piece: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The coarsest of a row of simplifications that is close enough to a piece, in half pixels.

    Tolerances start at half the piece's size and halve from there. Where all that are close enough
    have too many points it is the finest that has not.
    """
    (outer,) = _outer_contours(piece)
    contours = [outer, *_hole_contours(pixels_inside(outer, piece.shape) & ~piece, piece.sum())]
    step = math.ceil(sum(map(len, contours)) / (MAX_POINTS // 2))
    finest = _joined(
        [contour[:: min(step, len(contour) // _FEWEST_POINTS)] for contour in contours]
    )
    tolerance = float(max(piece.shape))
    while tolerance >= _FINEST_TOLERANCE:
        simple = [
            cv2.approxPolyDP(contour, tolerance, closed=True)[:, 0].astype(np.int32)
            for contour in contours
        ]
        if len(simple[0]) >= _FEWEST_POINTS:
            if sum(map(len, simple)) + 2 * len(simple) > MAX_POINTS:
                return finest
            finest = _joined(simple)
            if _iou(finest, piece) >= MIN_IOU:
                return finest
        tolerance /= 2
    whole = sum(map(len, contours)) + 2 * len(contours) <= MAX_POINTS
    return _joined(contours) if whole else finest


def _hole_contours(holes: NDArray[np.bool_], area: int) -> list[NDArray[np.int32]]:
    """Contours in half pixels of the largest holes, so many that the rest may be filled."""
    contours = []
    left_open = int(holes.sum())
    for hole in largest_pieces(holes, _MOST_HOLES, connectivity=4):
        if left_open <= _FILLED_SHARE * area:
            break
        left_open -= int(hole.mask.sum())
        (contour,) = _outer_contours(hole.mask)
        contours.append(contour + np.array([2 * hole.left, 2 * hole.top], dtype=np.int32))
    return contours


def _joined(contours: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    """An outline with the holes cut into it, each from where it comes closest."""
    polygon, *holes = contours
    for hole in holes:
        if len(hole) < _FEWEST_POINTS:
            continue  # simplified away
        distances = ((polygon[:, None] - hole[None]).astype(np.int64) ** 2).sum(axis=2)
        at, start = np.unravel_index(distances.argmin(), distances.shape)
        around = np.roll(hole, -int(start), axis=0)[::-1]
        polygon = np.concatenate([polygon[: at + 1], around[-1:], around, polygon[at:]])
    return polygon


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
