import io

import numpy as np
import pytest
from PIL import Image

from backend.overlay import MAX_SIDE, overlay_jpeg


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return image.convert("RGB")


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def test_the_mask_is_tinted_and_the_rest_is_not() -> None:
    mask = np.zeros((60, 80), dtype=np.bool_)
    mask[:, 40:] = True
    image = decoded(overlay_jpeg(Image.new("RGB", (80, 60), (0, 0, 200)), [mask]))
    assert image.size == (80, 60)
    assert pixel(image, 10, 30) == pytest.approx((0, 0, 200), abs=12)
    assert pixel(image, 70, 30) == pytest.approx((128, 32, 132), abs=12)


def test_without_a_mask_the_image_is_shown_as_it_is() -> None:
    image = decoded(overlay_jpeg(Image.new("RGB", (9, 7), (90, 90, 90)), []))
    assert pixel(image, 4, 3) == pytest.approx((90, 90, 90), abs=3)


@pytest.mark.parametrize(("size", "shown"), [((3000, 1500), (1024, 512)), ((1, 5000), (1, 1024))])
def test_a_large_image_is_reduced(size: tuple[int, int], shown: tuple[int, int]) -> None:
    mask = np.ones((size[1], size[0]), dtype=np.bool_)
    assert decoded(overlay_jpeg(Image.new("RGB", size), [mask])).size == shown


def test_even_noise_stays_small() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (MAX_SIDE, MAX_SIDE, 3), dtype=np.uint8)
    assert len(overlay_jpeg(Image.fromarray(noise), [])) < 2**20


def test_nothing_of_the_files_metadata_is_kept() -> None:
    image = Image.new("RGB", (8, 8))
    image.info["comment"] = b"where it was taken"
    assert b"where it was taken" not in overlay_jpeg(image, [])
