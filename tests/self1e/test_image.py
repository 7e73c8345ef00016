import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from self1e.image import choose_grid, load_image, normalise, tile_image

REFERENCE = Path(__file__).parent / "parity" / "preprocessing"
CASES = json.loads((REFERENCE / "cases.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_tiles_equal_the_reference(name: str) -> None:
    case = CASES[name]
    cols, rows = case["grid_cols_rows"]
    pixels, grid = tile_image(
        load_image(REFERENCE / f"{name}.png"), case["image_size"], case["max_tiles"]
    )
    assert grid == (rows, cols)
    expected = load_file(REFERENCE / "pixel_values.safetensors")[name]
    torch.testing.assert_close(pixels, expected, atol=2e-2, rtol=0)


@settings(deadline=None)
@given(height=st.integers(1, 5000), width=st.integers(1, 5000), max_tiles=st.integers(1, 12))
def test_grid_is_the_nearest_in_aspect_ratio(height: int, width: int, max_tiles: int) -> None:
    rows, cols = choose_grid(height, width, 448, max_tiles)
    assert 1 <= rows * cols <= max_tiles
    distance = abs(width / height - cols / rows)
    assert all(
        distance <= abs(width / height - c / r)
        for r in range(1, max_tiles + 1)
        for c in range(1, max_tiles // r + 1)
    )


@pytest.mark.parametrize(
    ("side", "grid"),
    [(448, (1, 1)), (634, (2, 2)), (600, (1, 1)), (2000, (2, 2))],
)
def test_on_a_tie_the_larger_grid_needs_more_than_half_its_area(
    side: int, grid: tuple[int, int]
) -> None:
    # Half of the area of 2 x 2 tiles of 448 is 633.57 squared.
    assert choose_grid(side, side, 448, 4) == grid


def test_tiles_go_row_by_row() -> None:
    image = Image.new("RGB", (112, 168))
    colours = [(40 * i, 0, 0) for i in range(6)]
    for i, colour in enumerate(colours):
        image.paste(colour, (56 * (i % 2), 56 * (i // 2), 56 * (i % 2) + 56, 56 * (i // 2) + 56))
    tiles, grid = tile_image(image, 56, max_tiles=6)
    assert grid == (3, 2)
    flat = normalise(np.array([[colours]], dtype=np.uint8))[0, 0, 0]
    torch.testing.assert_close(tiles[:, 0, 28, 28], flat)


def test_normalise_gives_imagenet_units() -> None:
    pixels = np.array([[[255, 0, 127]]], dtype=np.uint8)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (127 / 255 - 0.406) / 0.225]
    torch.testing.assert_close(normalise(pixels).flatten(), torch.tensor(expected))


def test_image_is_upright_rgb() -> None:
    image = Image.new("L", (30, 20), 7)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    file.seek(0)
    loaded = load_image(file)
    assert (loaded.mode, loaded.size) == ("RGB", (20, 30))


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_an_os_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"photo\.png"):
        load_image(path)
