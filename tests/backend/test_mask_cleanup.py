import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from backend.mask_cleanup import bounding_box, mask_pieces, without_specks

Mask = NDArray[np.bool_]
MASKS = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12))


def square(side: int, size: int = 100) -> Mask:
    mask = np.zeros((size, size), dtype=np.bool_)
    mask[10 : 10 + side, 10 : 10 + side] = True
    return mask


def test_specks_and_pin_holes_go_and_the_rest_stays() -> None:
    mask = square(40)
    expected = mask.copy()
    expected[80:90, 80:90] = mask[80:90, 80:90] = True  # a piece that is no speck
    expected[20:30, 20:30] = mask[20:30, 20:30] = False  # a hole that is no pin-hole
    mask[70, 5:9] = True
    mask[15, 15:19] = False
    untouched = mask.copy()
    np.testing.assert_array_equal(without_specks(mask), expected)
    np.testing.assert_array_equal(mask, untouched)


@pytest.mark.parametrize(("area", "stays"), [(7, False), (8, True)])
def test_a_speck_is_less_than_half_a_percent_of_the_largest_piece(area: int, stays: bool) -> None:
    mask = square(40)  # 1600 pixels: half a percent is 8
    mask[90, 10 : 10 + area] = True
    mask[20, 15 : 15 + area] = False
    clean = without_specks(mask)
    assert clean[90].any() == stays
    assert clean[20, 15:20].any() == (not stays)


@pytest.mark.parametrize(("area", "stays"), [(9, False), (10, True)])
def test_a_speck_is_less_than_a_hundred_thousandth_of_the_image(area: int, stays: bool) -> None:
    mask = square(10, 1000)  # a million pixels, and 100: half a percent would be less than one
    mask[500, 10 : 10 + area] = True
    assert without_specks(mask)[500].any() == stays


def test_a_flock_of_equals_stays() -> None:
    flock = np.zeros((100, 100), dtype=np.bool_)
    flock[::2, ::2] = True
    np.testing.assert_array_equal(without_specks(flock), flock)


def test_the_largest_piece_stays_however_small() -> None:
    mask = np.zeros((1000, 1000), dtype=np.bool_)
    mask[7, 7] = True
    np.testing.assert_array_equal(without_specks(mask), mask)


def test_a_bay_at_the_border_is_no_hole() -> None:
    mask = np.ones((60, 60), dtype=np.bool_)
    mask[0, 5] = mask[30, 59] = mask[59, 59] = False
    np.testing.assert_array_equal(without_specks(mask), mask)


@settings(deadline=None)
@given(MASKS)
def test_cleaning_small_masks_changes_nothing(mask: Mask) -> None:
    """Below 200 pixels nothing can be under half a percent of the largest piece."""
    np.testing.assert_array_equal(without_specks(mask), mask)


@settings(deadline=None)
@given(MASKS)
def test_pieces_make_up_the_mask_and_do_not_touch(mask: Mask) -> None:
    pieces = list(mask_pieces(mask, mask.size))
    areas = [int(piece.sum()) for piece in pieces]
    assert areas == sorted(areas, reverse=True)
    np.testing.assert_array_equal(np.sum([mask & False, *pieces], axis=0), mask)
    for piece in pieces:
        grown = np.pad(piece, 1)
        near = np.lib.stride_tricks.sliding_window_view(grown, (3, 3)).any(axis=(2, 3))
        assert not (near & mask & ~piece).any()


def test_the_largest_pieces_are_kept() -> None:
    mask = np.zeros((9, 9), dtype=np.bool_)
    mask[0, 0] = mask[2:4, 2:4] = mask[6:9, 6:9] = True
    assert [piece.sum() for piece in mask_pieces(mask, 2)] == [9, 4]


def test_pixels_that_touch_at_corners_are_one_piece() -> None:
    assert len(list(mask_pieces(np.eye(5, dtype=np.bool_), 9))) == 1


@pytest.mark.parametrize(
    ("rows", "columns", "box"),
    [([0], [0], (0, 0, 1, 1)), ([2, 3], [6, 1], (2, 1, 4, 7)), ([], [], None)],
)
def test_bounding_box(rows: list[int], columns: list[int], box: object) -> None:
    mask = np.zeros((4, 7), dtype=np.bool_)
    mask[np.asarray(rows, dtype=np.intp), np.asarray(columns, dtype=np.intp)] = True
    assert bounding_box(mask) == box
