"""Takes specks and pin-holes out of a mask, and takes a mask apart into its pieces.

A piece is a set of pixels that touch at edges or corners; a hole is background that touches no
background outside it at an edge. An annotator cannot see a speck of a few pixels, but each one
costs run lengths in a brush mask, and is a region of its own as a polygon.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST_SHARE_OF_PIECE = 0.005
SMALLEST_SHARE_OF_IMAGE = 1e-5


def without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without specks and pin-holes.

    A speck is a piece, a pin-hole is a hole, that is smaller than 0.5 % of the mask's largest piece
    or smaller than 0.001 % of the image (20 pixels of two million). Compared with the largest
    piece and not with all of them, a flock of a thousand small birds stays. The largest piece
    always stays, however small it is.

    Args:
        mask: (H, W) bool.

    Returns:
        A new mask of the same size.
    """
    clean = np.zeros_like(mask)
    box = bounding_box(mask)
    if box is None:
        return clean
    top, left, bottom, right = box
    # A frame of background joins all that is outside, which is then no hole.
    framed = np.pad(mask[top:bottom, left:right], 1)
    pieces, statistics = _connected(framed, connectivity=8)
    areas = statistics[:, cv2.CC_STAT_AREA]
    largest = int(areas.max())
    smallest = max(SMALLEST_SHARE_OF_PIECE * largest, SMALLEST_SHARE_OF_IMAGE * mask.size)
    kept = np.flatnonzero((areas >= smallest) | (areas == largest)) + 1
    solid = np.isin(pieces, kept)
    holes, statistics = _connected(~solid, connectivity=4)
    pin_holes = np.flatnonzero(statistics[:, cv2.CC_STAT_AREA] < smallest) + 1
    outside = holes[0, 0]
    solid |= np.isin(holes, pin_holes[pin_holes != outside])
    clean[top:bottom, left:right] = solid[1:-1, 1:-1]
    return clean


@dataclass(frozen=True)
class Piece:
    """A piece of a mask: bool (h, w) of its bounding box, whose top left corner is given."""

    top: int
    left: int
    mask: NDArray[np.bool_]


def largest_pieces(
    mask: NDArray[np.bool_], limit: int, *, connectivity: int = 8
) -> Iterator[Piece]:
    """Yields the largest pieces of a mask, the largest first.

    Args:
        mask: (H, W) bool.
        limit: most pieces to yield.
        connectivity: 8, or 4 for pieces that touch at edges, as holes do.
    """
    box = bounding_box(mask)
    if box is None:
        return
    top, left, bottom, right = box
    pieces, statistics = _connected(mask[top:bottom, left:right], connectivity=connectivity)
    # A stable sort: pieces of one size come in the order in which OpenCV finds them.
    order = np.argsort(-statistics[:, cv2.CC_STAT_AREA], kind="stable")[:limit]
    for piece in order:
        x, y, width, height = statistics[piece, : cv2.CC_STAT_AREA]
        crop = pieces[y : y + height, x : x + width] == piece + 1
        yield Piece(int(top + y), int(left + x), crop)


def mask_pieces(mask: NDArray[np.bool_], limit: int) -> Iterator[NDArray[np.bool_]]:
    """Yields the largest pieces of a mask, each a mask of the same size, the largest first.

    Args:
        mask: (H, W) bool.
        limit: most pieces to yield.
    """
    for piece in largest_pieces(mask, limit):
        whole = np.zeros_like(mask)
        height, width = piece.mask.shape
        whole[piece.top : piece.top + height, piece.left : piece.left + width] = piece.mask
        yield whole


def bounding_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """(top, left, bottom, right) of the mask in pixels, the ends exclusive; None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _connected(
    mask: NDArray[np.bool_], *, connectivity: int
) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """The number of each pixel's piece, int32 (H, W) from 1 on, and OpenCV's row for each piece."""
    _, pieces, statistics, _ = cv2.connectedComponentsWithStats(
        mask.view(np.uint8), connectivity=connectivity, ltype=cv2.CV_32S
    )
    return pieces.astype(np.int32, copy=False), statistics[1:]
