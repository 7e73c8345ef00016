import base64
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from backend.label_config import MaskControl
from backend.mask_cleanup import without_specks
from backend.parameters import MaskParameters
from backend.prompts import LabelledPrompt
from backend.region_masks import UnreadableRegionError, region_mask
from backend.regions import mask_regions
from tests.annotated import HEIGHT, WIDTH, bitmask, brush, polygon, square

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12))


def regions_of(mask: NDArray[np.bool_], control: MaskControl) -> list[dict[str, Any]]:
    """What Label Studio is sent for this mask."""
    return mask_regions(
        mask,
        0.5,
        LabelledPrompt("the cat", "Cat"),
        control,
        parameters=MaskParameters(),
        image_digest="0",
        model_version="v",
    )


@given(mask=MASKS)
def test_brush_and_bitmask_come_back_as_they_were(mask: NDArray[np.bool_]) -> None:
    for kind, shape in (("brushlabels", "brush"), ("bitmasklabels", "bitmask")):
        regions = regions_of(mask, MaskControl("mask", "image", kind))  # type: ignore[arg-type]
        wanted = without_specks(mask)
        assert len(regions) == int(wanted.any())
        for region in regions:
            np.testing.assert_array_equal(region_mask(region, shape), wanted)


@given(
    left=st.integers(0, 30),
    top=st.integers(0, 20),
    width=st.integers(1, 9),
    height=st.integers(1, 9),
)
def test_polygons_of_boxes_come_back_as_they_were(
    left: int, top: int, width: int, height: int
) -> None:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    mask[top : top + height, left : left + width] = True
    (region,) = regions_of(mask, MaskControl("mask", "image", "polygonlabels"))
    np.testing.assert_array_equal(region_mask(region, "polygon"), mask)


def test_the_polygons_of_a_disc_are_nearly_the_disc() -> None:
    rows, columns = np.mgrid[:101, :151]
    mask = (rows - 50.0) ** 2 + (columns - 70.0) ** 2 < 40**2
    (region,) = regions_of(mask, MaskControl("mask", "image", "polygonlabels"))
    read = region_mask(region, "polygon")
    assert np.count_nonzero(read & mask) / np.count_nonzero(read | mask) > 0.95


def test_a_polygon_is_the_pixels_whose_centres_lie_inside() -> None:
    # A triangle over the upper left half of 4 x 4 pixels.
    region = polygon([[0, 0], [100, 0], [0, 100]], original_width=4, original_height=4)
    read = region_mask(region, "polygon")
    assert read.sum() in range(6, 11)  # the diagonal belongs to either side
    assert read[0, :3].all()
    assert not read[3, 1:].any()


@pytest.mark.parametrize("points", [[], [[0, 0]], [[0, 0], [100, 100]]])
def test_a_polygon_of_less_than_three_points_is_empty(points: list[list[float]]) -> None:
    assert not region_mask(polygon(points), "polygon").any()


def test_points_outside_the_image_are_moved_to_its_border() -> None:
    assert region_mask(polygon([[-9, -9], [109, -9], [109, 109], [-9, 109]]), "polygon").all()


def png(pixels: NDArray[Any]) -> str:
    return (
        "data:image/png;base64,"
        + base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()
    )


RGBA = np.zeros((HEIGHT, WIDTH, 4), np.uint8)


def url(value: str) -> dict[str, Any]:
    return bitmask(square(0, 0)) | {"value": {"imageDataURL": value}}


def test_half_transparent_pixels_of_a_bitmask_count_from_128_on() -> None:
    pixels = RGBA.copy()
    pixels[0, :, 3] = np.arange(WIDTH) + 110
    assert region_mask(url(png(pixels)), "bitmask").sum() == WIDTH - 18


LARGER = np.zeros((HEIGHT, WIDTH + 1), dtype=np.bool_)


@pytest.mark.parametrize(
    ("region", "shape", "reason"),
    [
        (brush(LARGER), "brush", "brush mask of another size than its image"),
        (brush(square(0, 0)) | {"value": {}}, "brush", "brush region without rle"),
        (brush(square(0, 0)) | {"value": {"rle": []}}, "brush", "brush region without rle"),
        (brush(square(0, 0)) | {"value": {"rle": "x"}}, "brush", "brush region without rle"),
        (brush(square(0, 0)) | {"value": {"rle": ["x"]}}, "brush", "damaged brush mask"),
        (brush(square(0, 0)) | {"value": {"rle": [0, 1]}}, "brush", "another size"),
        (
            brush(square(0, 0)) | {"value": {"rle": brush(square(0, 0))["value"]["rle"][:12]}},
            "brush",
            "damaged brush mask",
        ),
        (brush(square(0, 0)) | {"value": None}, "brush", "region without a value"),
        (brush(square(0, 0), image_rotation=90), "brush", "image was rotated"),
        (brush(square(0, 0), original_width=None), "brush", "without its image's size"),
        (brush(square(0, 0), original_width="40"), "brush", "without its image's size"),
        (brush(square(0, 0), original_width=0), "brush", "impossible image size"),
        (polygon([[0, 0]], original_width=10**9), "polygon", "impossible image size"),
        (bitmask(LARGER), "bitmask", "bitmask of another size than its image"),
        (url("data:image/jpeg;base64,AA=="), "bitmask", "bitmask region without a PNG"),
        (url("data:image/png;base64,A"), "bitmask", "damaged bitmask"),
        (url("data:image/png;base64,"), "bitmask", "another size"),
        (url(png(RGBA)[:80]), "bitmask", "damaged bitmask"),
        (url(png(RGBA[..., :3])), "bitmask", "damaged bitmask"),
        (polygon([]) | {"value": {"points": None}}, "polygon", "damaged polygon"),
        (polygon([[0, 0, 0]]), "polygon", "damaged polygon"),
        (polygon([[0, float("nan")]]), "polygon", "damaged polygon"),
        (polygon([["0", "1"]]), "polygon", "damaged polygon"),  # type: ignore[list-item]
    ],
)
def test_what_cannot_be_read_says_why(region: dict[str, Any], shape: str, reason: str) -> None:
    with pytest.raises(UnreadableRegionError, match=reason):
        region_mask(region, shape)
