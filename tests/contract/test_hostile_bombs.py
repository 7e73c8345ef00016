"""Small files that ask for much memory: refused, or read in a bounded amount of it."""

import io
import struct
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from tests.contract.hostile_images import (
    gif_frame,
    gif_header,
    png_chunk,
    png_of_zeros,
    tiff_file,
)

MEBIBYTE = 2**20
# Decodes its input in a process of its own, and says how much memory that took at most.
DECODE = """
import sys
from backend.errors import ImageError
from backend.images import decode_image

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

data = sys.stdin.buffer.read()
before = peak()
try:
    said = "{} x {}".format(*decode_image(data, max_megapixels=float(sys.argv[1])).size)
except ImageError as error:
    said = str(error)
print((peak() - before) // 1024, said, sep="\\n")
"""


def decode(data: bytes, max_megapixels: float) -> tuple[int, str]:
    """The memory that it took, in MiB, and what came of it."""
    ran = subprocess.run(
        [sys.executable, "-c", DECODE, str(max_megapixels)],
        input=data,
        capture_output=True,
        check=True,
    )
    memory, said = ran.stdout.decode().splitlines()
    return int(memory), said


def file_of(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def webp_header(height: int, width: int) -> bytes:
    """An animation without frames."""
    sizes = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<II", 10, 2) + sizes + b"ANIM" + struct.pack("<I", 6)
    return b"RIFF" + struct.pack("<I", len(body) + 6) + body + bytes(6)


def bmp_header(height: int, width: int) -> bytes:
    head = struct.pack("<IHHI", 54, 0, 0, 54)
    return b"BM" + head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def tiff_bombs() -> dict[str, bytes]:
    """Also tiles and strips that are far larger than the image."""
    grey = {258: 8, 262: 1, 277: 1}
    packed = grey | {256: 10, 257: 10, 259: 8}
    zeros = zlib.compress(bytes(200 * MEBIBYTE), 9)
    return {
        "TIFF": tiff_file(grey | {256: 60_000, 257: 60_000, 259: 1, 273: -1, 279: 1}, b"\0"),
        "TIFF tile": tiff_file(
            packed | {322: 60_000, 323: 60_000, 324: -1, 325: len(zeros)}, zeros
        ),
        "TIFF strip": tiff_file(packed | {273: -1, 278: 2**24, 279: len(zeros)}, zeros),
        "TIFF samples": tiff_file(
            {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: -1, 277: 60_000, 279: 1}, b"\0"
        ),
    }


def bombs() -> dict[str, bytes]:
    text = zlib.compress(bytes(200 * MEBIBYTE), 9)
    return {
        "PNG": png_of_zeros(60_000, 60_000, depth=1),
        "PNG comment": png_of_zeros(1, 1, chunks=png_chunk(b"zTXt", b"Comment\0\0" + text)),
        "PNG profile": png_of_zeros(1, 1, chunks=png_chunk(b"iCCP", b"x\0\0" + text)),
        "WEBP": file_of(Image.new("L", (16_383, 1000)), "WEBP", lossless=True, method=0),
        "WEBP animation": webp_header(16_383, 16_383),
        "GIF": gif_header(65_535, 65_535) + gif_frame(65_535, 65_535) + b";",
        "GIF frame": gif_header(1, 1) + gif_frame(65_535, 65_535) + b";",
        "BMP": bmp_header(60_000, 60_000),
        "JPEG": file_of(Image.new("L", (60_000, 1000)), "JPEG", progressive=True),
    } | tiff_bombs()


def test_bombs_take_little_memory() -> None:
    for name, data in bombs().items():
        assert len(data) < MEBIBYTE, name
        memory, said = decode(data, 10)
        assert memory < 64, (name, said)
        assert said == "10 x 10" or "megapixels" in said or "large" in said or "damaged" in said, (
            name,
            said,
        )


def test_a_million_frames_are_one() -> None:
    data = gif_header(1, 1) + gif_frame(1, 1) * 1_000_000 + b";"
    memory, said = decode(data, 10)
    assert said == "1 x 1"
    assert memory < 64


@pytest.mark.parametrize(
    ("colour_type", "depth", "bytes_per_pixel"),
    [(0, 1, 5), (0, 8, 5), (0, 16, 9), (2, 16, 8), (6, 8, 12), (6, 16, 12)],
)
def test_memory_is_in_proportion_to_the_pixels(
    colour_type: int, depth: int, bytes_per_pixel: int
) -> None:
    data = png_of_zeros(5000, 4000, colour_type=colour_type, depth=depth)
    memory, said = decode(data, 20)
    assert said == "4000 x 5000"
    assert memory * MEBIBYTE < 20e6 * bytes_per_pixel + 32 * MEBIBYTE


@pytest.mark.parametrize(
    ("mode", "image_format", "options"),
    [
        ("RGBA", "WEBP", {"lossless": True, "method": 0}),
        ("F", "TIFF", {"compression": "tiff_deflate"}),
    ],
)
def test_no_format_takes_more_than_20_bytes_a_pixel(
    mode: str, image_format: str, options: dict[str, object]
) -> None:
    memory, said = decode(file_of(Image.new(mode, (4000, 5000)), image_format, **options), 20)
    assert said == "4000 x 5000"
    assert memory * MEBIBYTE < 20e6 * 20 + 32 * MEBIBYTE
