"""Decoding image files into what the browser shows. Oracles: Pillow's encoders, by hand."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from backend.errors import ImageError
from backend.images import decode_image

LOSSLESS = ["PNG", "WEBP", "BMP", "TIFF"]
ORIENTATION_TAG = 0x0112


def photo(height: int = 20, width: int = 30) -> Image.Image:
    """Four corners of different colours, to see how it is turned."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2] = (250, 10, 10)
    pixels[: height // 2, width // 2 :] = (10, 250, 10)
    pixels[height // 2 :, : width // 2] = (10, 10, 250)
    return Image.fromarray(pixels)


def file_of(image: Image.Image, image_format: str, **options: Any) -> bytes:
    if image_format == "WEBP":
        options.setdefault("lossless", True)
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def decode(data: bytes, max_megapixels: float = 1) -> NDArray[np.uint8]:
    image = decode_image(data, max_megapixels=max_megapixels)
    assert image.mode == "RGB"
    return np.asarray(image)


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[ORIENTATION_TAG] = orientation
    return block


@pytest.mark.parametrize("image_format", LOSSLESS)
def test_the_pixels_are_the_files(image_format: str) -> None:
    np.testing.assert_array_equal(decode(file_of(photo(), image_format)), np.asarray(photo()))


@pytest.mark.parametrize("image_format", ["JPEG", "GIF"])
def test_lossy_formats_are_decoded(image_format: str) -> None:
    difference = decode(file_of(photo(), image_format)).astype(int) - np.asarray(photo())
    assert np.abs(difference).mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_exif_orientation_is_obeyed_where_browsers_do(image_format: str, orientation: int) -> None:
    data = file_of(photo(), image_format, exif=exif(orientation))
    with Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert upright.shape == ((20, 30, 3) if orientation < 5 else (30, 20, 3))
    np.testing.assert_array_equal(decode(data), upright)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_is_upright(orientation: int) -> None:
    data = file_of(photo(), "TIFF", exif=exif(orientation))
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decode(data), np.asarray(image))
    assert decode(data).shape == ((20, 30, 3) if orientation < 5 else (30, 20, 3))


def test_exif_orientation_is_ignored_in_webp_as_in_chromium() -> None:
    assert decode(file_of(photo(), "WEBP", exif=exif(6))).shape == (20, 30, 3)


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP"])
def test_xmp_orientation_is_ignored_as_in_chromium(image_format: str) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert decode(file_of(photo(), image_format, xmp=xmp)).shape == (20, 30, 3)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(orientation: int) -> None:
    data = file_of(photo(), "PNG", exif=exif(orientation))
    np.testing.assert_array_equal(decode(data), np.asarray(photo()))


@pytest.mark.parametrize(
    "block", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0junk" * 9]
)
def test_damaged_exif_is_upright(block: bytes) -> None:
    assert decode(file_of(photo(), "JPEG", exif=block)).shape == (20, 30, 3)


def test_a_jpeg_of_several_pictures_is_its_first() -> None:
    """Phones append a depth map or a preview (MPO)."""
    data = file_of(photo(), "MPO", save_all=True, append_images=[photo(40, 40)], exif=exif(6))
    assert decode(data).shape == (30, 20, 3)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "GIF", "TIFF"])
def test_an_animation_is_its_first_frame(image_format: str) -> None:
    second = Image.new("RGB", (30, 20), "white")
    data = file_of(photo(), image_format, save_all=True, append_images=[second])
    difference = decode(data).astype(int) - np.asarray(photo())
    assert np.abs(difference).max() <= (30 if image_format == "GIF" else 0)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_on_white(image_format: str) -> None:
    pixels = np.array([[[0, 0, 0, 0], [200, 100, 0, 255], [0, 0, 0, 127]]], dtype=np.uint8)
    decoded = decode(file_of(Image.fromarray(pixels), image_format, **_exact(image_format)))
    np.testing.assert_array_equal(decoded, [[[255] * 3, [200, 100, 0], [128] * 3]])


def _exact(image_format: str) -> dict[str, bool]:
    return {"exact": True} if image_format == "WEBP" else {}


def test_transparent_grey_and_palette_are_on_white() -> None:
    grey = Image.fromarray(np.array([[[9, 0], [9, 255]]], dtype=np.uint8), "LA")
    np.testing.assert_array_equal(decode(file_of(grey, "PNG")), [[[255] * 3, [9] * 3]])
    palette = Image.new("P", (2, 1))
    palette.putpalette([1, 2, 3, 4, 5, 6])
    palette.putpixel((1, 0), 1)
    for image_format in ("PNG", "GIF"):
        decoded = decode(file_of(palette, image_format, transparency=0))
        np.testing.assert_array_equal(decoded, [[[255] * 3, [4, 5, 6]]])


def test_an_opaque_palette_and_one_bit_keep_their_colours() -> None:
    palette = photo().quantize(8)
    np.testing.assert_array_equal(
        decode(file_of(palette, "PNG")), np.asarray(palette.convert("RGB"))
    )
    black_and_white = Image.fromarray(np.array([[True, False]]))
    for image_format in ("PNG", "TIFF", "BMP"):
        decoded = decode(file_of(black_and_white, image_format))
        np.testing.assert_array_equal(decoded, [[[255] * 3, [0] * 3]])


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(image_format: str) -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = decode(file_of(cmyk, image_format))
    np.testing.assert_allclose(red[4, 4], [255, 0, 0], atol=3)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_higher_8_bits(image_format: str) -> None:
    deep = Image.fromarray(np.array([[0, 255, 256, 0x80FF, 0xFFFF]], dtype=np.uint16))
    decoded = decode(file_of(deep, image_format))
    np.testing.assert_array_equal(decoded[..., 0], [[0, 0, 1, 0x80, 0xFF]])
    np.testing.assert_array_equal(decoded, np.repeat(decoded[..., :1], 3, axis=2))


def test_big_endian_16_bit_grey() -> None:
    deep = Image.frombytes("I;16B", (2, 1), b"\x80\xff\xff\x00")
    np.testing.assert_array_equal(decode(file_of(deep, "TIFF"))[..., 0], [[0x80, 0xFF]])


@pytest.mark.parametrize("values", [[-1000, 0, 1000], [0, 0.5, 1]])
def test_wider_grey_is_stretched(values: list[float]) -> None:
    dtype = np.int32 if isinstance(values[0], int) and values[0] else np.float32
    wide = Image.fromarray(np.array([values], dtype=dtype))
    np.testing.assert_array_equal(decode(file_of(wide, "TIFF"))[..., 0], [[0, 128, 255]])


def test_wider_grey_without_contrast_or_numbers() -> None:
    for values, expected in (([[7, 7]], [[0, 0]]), ([[np.nan, 0, 1]], [[0, 0, 255]])):
        wide = Image.fromarray(np.array(values, dtype=np.float32))
        np.testing.assert_array_equal(decode(file_of(wide, "TIFF"))[..., 0], expected)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(image_format: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    data = file_of(Image.fromarray(noise), image_format)
    with pytest.raises(ImageError, match=r"is damaged|is not an image"):
        decode(data[: int(len(data) * kept)])


def png_header(height: int, width: int) -> bytes:
    """A PNG of a few bytes that says it has this size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.mark.parametrize(
    ("height", "width", "says"),
    [
        (1001, 1000, "1000 x 1001 pixels, more than 1 megapixels.*SELF1E_MAX_IMAGE_MEGAPIXELS"),
        (10_000, 10_000, "10000 x 10000 pixels, more than 1 megapixels"),
        (60_000, 60_000, "is too large"),
    ],
)
def test_a_decompression_bomb_is_refused_by_its_header(height: int, width: int, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        decode(png_header(height, width))


def test_an_image_of_exactly_the_limit_is_decoded() -> None:
    assert decode(file_of(photo(), "PNG"), max_megapixels=600e-6).shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>secret</html>", "web page"),
        (b"<html><body>secret</body></html>", "web page"),
        (b"%PDF-1.7", "JPEG, PNG"),
        (b"P6\n1 1\n255\n\0\0\0", "JPEG, PNG"),
        (file_of(photo(), "ICO"), "JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "JPEG, PNG"),
    ],
)
def test_other_files_are_refused(data: bytes, says: str) -> None:
    with pytest.raises(ImageError, match=f"not an image that can be read: .*{says}") as caught:
        decode(data)
    assert "secret" not in str(caught.value)
