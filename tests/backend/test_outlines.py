from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from backend.outlines import MAX_POINTS, MIN_IOU, Box, mask_box, mask_polygons

Mask = NDArray[np.bool_]
LIMIT = 1000


def inside(polygon: NDArray[np.float64], size: tuple[int, ...]) -> Mask:
    """The pixels whose centres are in the polygon, one ray to the left per pixel (even-odd)."""
    filled = np.zeros(size, dtype=np.bool_)
    for row, column in np.ndindex(*size):
        x, y = column + 0.5, row + 0.5
        for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if (y1 > y) != (y2 > y) and x1 + (y - y1) * (x2 - x1) / (y2 - y1) < x:
                filled[row, column] ^= True
    return filled


def iou(first: Mask, second: Mask) -> float:
    return float((first & second).sum() / (first | second).sum())


def joined(polygons: list[NDArray[np.float64]], size: tuple[int, ...]) -> Mask:
    """The pixels in any of the polygons."""
    covered = np.zeros(size, dtype=np.bool_)
    for polygon in polygons:
        covered |= inside(polygon, size)
    return covered


@st.composite
def blobs(draw: st.DrawFn) -> Mask:
    """Noise, smoothed by nothing up to much: from single pixels to big round blobs."""
    size = (draw(st.integers(1, 24)), draw(st.integers(1, 24)))
    noise = draw(arrays.arrays(np.float32, size, elements=st.floats(0, 1, width=32)))
    smooth = cv2.GaussianBlur(noise, (0, 0), draw(st.sampled_from([0.1, 1.0, 3.0])))
    return np.asarray(smooth > np.float32(draw(st.floats(0.1, 0.9))))


@settings(deadline=None, max_examples=60)
@given(blobs())
def test_polygons_cover_the_mask_and_nothing_else(mask: Mask) -> None:
    polygons = mask_polygons(mask, LIMIT)
    if not mask.any():
        assert polygons == []
        return
    assert iou(joined(polygons, mask.shape), mask) >= MIN_IOU
    height, width = mask.shape
    for polygon in polygons:
        assert 3 <= len(polygon) <= MAX_POINTS
        assert (polygon >= 0).all()
        assert (polygon <= (width, height)).all()
        assert (polygon[0] != polygon[-1]).any()


@settings(deadline=None, max_examples=40)
@given(blobs())
def test_a_box_holds_the_mask_and_touches_it_on_every_side(mask: Mask) -> None:
    box = mask_box(mask)
    if not mask.any():
        assert box == Box(0, 0, 0, 0)
        return
    part = mask[box.top : box.top + box.height, box.left : box.left + box.width]
    assert part.sum() == mask.sum()
    assert part[0].any()
    assert part[-1].any()
    assert part[:, 0].any()
    assert part[:, -1].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (5, 7)])
def test_a_mask_that_fills_the_image_reaches_its_borders(size: tuple[int, int]) -> None:
    mask = np.ones(size, dtype=np.bool_)
    (polygon,) = mask_polygons(mask, LIMIT)
    height, width = size
    assert {tuple(point) for point in polygon} == {(0, 0), (width, 0), (width, height), (0, height)}
    assert mask_box(mask) == Box(0, 0, width, height)


@pytest.mark.parametrize("pixel", [(0, 0), (3, 4), (5, 6), (0, 6)])
def test_one_pixel_is_a_square_of_its_size(pixel: tuple[int, int]) -> None:
    mask = np.zeros((6, 7), dtype=np.bool_)
    mask[pixel] = True
    y, x = pixel
    (polygon,) = mask_polygons(mask, LIMIT)
    assert {tuple(point) for point in polygon} == {
        (x, y),
        (x + 1, y),
        (x + 1, y + 1),
        (x, y + 1),
    }
    assert mask_box(mask) == Box(x, y, 1, 1)


def test_a_rectangle_needs_four_points_and_a_disc_few() -> None:
    mask = np.zeros((200, 300), dtype=np.bool_)
    mask[20:50, 10:90] = True
    (polygon,) = mask_polygons(mask, LIMIT)
    assert len(polygon) == 4
    y, x = np.ogrid[:200, :300]
    (polygon,) = mask_polygons((x - 150) ** 2 + (y - 100) ** 2 < 80**2, LIMIT)
    assert len(polygon) <= 24


def signed_area(polygon: NDArray[np.float64]) -> float:
    """Twice-run lines cancel out, and what is gone around the other way counts against it."""
    (x, y), (next_x, next_y) = polygon.T, np.roll(polygon, -1, axis=0).T
    return float((x * next_y - next_x * y).sum() / 2)


def test_a_hole_is_cut_out_and_what_lies_in_it_is_a_polygon() -> None:
    mask = np.ones((20, 20), dtype=np.bool_)
    mask[4:16, 4:16] = False
    mask[8:12, 8:12] = True
    ring, island = mask_polygons(mask, LIMIT)
    assert (joined([ring, island], mask.shape) == mask).all()
    assert len(ring) == 10
    assert abs(signed_area(ring)) == 20 * 20 - 12 * 12
    assert abs(signed_area(island)) == 4 * 4


def test_holes_are_cut_by_either_rule_of_filling() -> None:
    mask = np.ones((40, 90), dtype=np.bool_)
    mask[5:35, 5:30] = mask[10:20, 50:60] = mask[25:35, 70:85] = False
    (polygon,) = mask_polygons(mask, LIMIT)
    assert (inside(polygon, mask.shape) == mask).all()
    assert abs(signed_area(polygon)) == mask.sum()


def test_a_hole_too_small_to_matter_is_filled() -> None:
    mask = np.ones((20, 20), dtype=np.bool_)
    mask[9:11, 9:11] = False
    (polygon,) = mask_polygons(mask, LIMIT)
    assert len(polygon) == 4


def test_lace_has_no_more_points_than_allowed() -> None:
    mask = np.ones((201, 201), dtype=np.bool_)
    mask[1::2, 1::2] = False
    (polygon,) = mask_polygons(mask, LIMIT)
    assert 3 <= len(polygon) <= MAX_POINTS


def test_the_largest_polygons_are_kept_and_come_first() -> None:
    mask = np.zeros((10, 30), dtype=np.bool_)
    mask[1:3, 1:3] = mask[1:9, 6:14] = mask[1:6, 20:25] = True
    polygons = mask_polygons(mask, 2)
    assert [polygon.min(axis=0).tolist() for polygon in polygons] == [[6, 1], [20, 1]]


def comb(teeth: int) -> Mask:
    mask = np.zeros((60, 2 * teeth), dtype=np.bool_)
    mask[:, ::2] = True
    mask[30:] = True
    return mask


def test_a_ragged_contour_keeps_its_overlap() -> None:
    mask = comb(200)
    (polygon,) = mask_polygons(mask, LIMIT)
    assert iou(inside(polygon, mask.shape), mask) >= MIN_IOU


def test_a_contour_too_ragged_for_an_editor_has_no_more_points_than_allowed() -> None:
    (polygon,) = mask_polygons(comb(2000), LIMIT)
    assert 3 <= len(polygon) <= MAX_POINTS


def test_no_mask_has_no_outline() -> None:
    empty: Any = np.zeros((4, 5), dtype=np.bool_)
    assert mask_polygons(empty, LIMIT) == []
    assert mask_box(empty) == Box(0, 0, 0, 0)
