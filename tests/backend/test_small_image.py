import io

import numpy as np
import pytest
from PIL import Image

from backend.small_image import SmallImage


@pytest.mark.parametrize(
    ("size", "small"), [((4000, 3000), (96, 72)), ((1, 1), (1, 1)), ((30000, 10), (96, 1))]
)
def test_it_is_small_whatever_the_image(size: tuple[int, int], small: tuple[int, int]) -> None:
    image = SmallImage.of(Image.new("RGB", size))
    assert image.pixels.size == small
    assert image.nbytes == 3 * small[0] * small[1]


def test_masks_of_the_full_size_lie_where_they_were() -> None:
    mask = np.zeros((300, 400), dtype=np.bool_)
    mask[:150, 200:] = True
    picture = SmallImage.of(Image.new("RGB", (400, 300), "black")).with_masks([mask])
    pixels = np.asarray(Image.open(io.BytesIO(picture)))
    assert pixels.shape == (72, 96, 3)
    assert pixels[10, 80, 0] > 100
    assert pixels[60, 80].max() < 30
    assert pixels[10, 20].max() < 30
