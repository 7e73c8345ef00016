import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from backend.bitmask import encode_bitmask

PREFIX = "data:image/png;base64,"


def pixels(url: str) -> NDArray[np.uint8]:
    """The RGBA pixels of a data URL, uint8 (H, W, 4)."""
    with Image.open(io.BytesIO(base64.b64decode(url.removeprefix(PREFIX), validate=True))) as image:
        assert (image.format, image.mode) == ("PNG", "RGBA")
        return np.asarray(image)


@settings(deadline=None)
@given(arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_the_mask_is_black_on_a_transparent_background(mask: NDArray[np.bool_]) -> None:
    found = pixels(encode_bitmask(mask))
    np.testing.assert_array_equal(found[..., 3], mask * np.uint8(255))
    assert not found[..., :3].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_it_has_the_images_size(size: tuple[int, int]) -> None:
    url = encode_bitmask(np.ones(size, dtype=np.bool_))
    assert url.startswith(PREFIX)
    assert pixels(url).shape == (*size, 4)


def test_a_large_mask_is_small() -> None:
    y, x = np.ogrid[:3000, :4000]
    disc = (x - 2000) ** 2 + (y - 1500) ** 2 < 1200**2
    assert len(encode_bitmask(disc)) < 150_000
