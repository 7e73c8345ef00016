"""Image files as a hostile or careless world makes them, built byte by byte."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 20, 30
_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4
_EXIF = b"Exif\0\0"


def photo(height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
    """Four quarters of different colours, to see how it is turned."""
    pixels = np.full((height, width, 3), (10, 10, 10), dtype=np.uint8)
    pixels[: height // 2, : width // 2] = (250, 10, 10)
    pixels[: height // 2, width // 2 :] = (10, 250, 10)
    pixels[height // 2 :, : width // 2] = (10, 10, 250)
    return Image.fromarray(pixels)


def file_of(image: Image.Image, image_format: str, **options: Any) -> bytes:
    best: dict[str, dict[str, Any]] = {
        "WEBP": {"lossless": True},
        "JPEG": {"quality": 95, "subsampling": 0},
    }
    buffer = io.BytesIO()
    image.save(buffer, image_format, **best.get(image_format, {}) | options)
    return buffer.getvalue()


def png_chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def png_of_zeros(
    height: int, width: int, *, colour_type: int = 0, depth: int = 8, chunks: bytes = b""
) -> bytes:
    """A PNG whose pixels are all zero, a thousandth of its size."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    row = bytes(1 + (width * channels * depth + 7) // 8)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [(b"IDAT", pixels), (b"IEND", b"")]
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", png_chunk(b"IHDR", header), chunks]
        + [png_chunk(name, content) for name, content in parts]
    )


def png_with(chunks: bytes, *, behind_pixels: bool = False) -> bytes:
    data = file_of(photo(), "PNG")
    place = data.rindex(b"IEND") - 4 if behind_pixels else data.index(b"IDAT") - 4
    return data[:place] + chunks + data[place:]


def jpeg_with(*blocks: bytes) -> bytes:
    """A JPEG with these APP1 segments."""
    data = file_of(photo(), "JPEG")
    segments = [b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block for block in blocks]
    return data[:2] + b"".join(segments) + data[2:]


def tiff_directory(*entries: tuple[int, int, int, int], order: str = "<", count: int = -1) -> bytes:
    """The inside of an EXIF block; an entry is a tag, a type, a count and a value."""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    parts = [magic, struct.pack(f"{order}IH", 8, len(entries) if count < 0 else count)]
    parts += [struct.pack(f"{order}HHIHH", *entry, 0) for entry in entries]
    return b"".join(parts) + bytes(4)


def orientation(value: int, kind: int = _SHORT, count: int = 1) -> tuple[int, int, int, int]:
    return (_ORIENTATION, kind, count, value)


def exif(value: int) -> Image.Exif:
    block = Image.Exif()
    block[_ORIENTATION] = value
    return block


def tiff_file(tags: Mapping[int, int], data: bytes) -> bytes:
    """A grey TIFF with these tags; where a value is -1 the data begins."""
    start = 8 + 2 + 12 * len(tags) + 4
    parts = [b"II*\0", struct.pack("<IH", 8, len(tags))]
    for tag, value in sorted(tags.items()):
        parts.append(struct.pack("<HHII", tag, _LONG, 1, start if value == -1 else value))
    return b"".join(parts) + bytes(4) + data


def gif_header(height: int, width: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)


def gif_frame(height: int, width: int) -> bytes:
    return b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\0"


_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
_MAKER = (0x010F, _SHORT, 1, 7)
_SIX = tiff_directory(orientation(6))
# A block's inside, which is in JPEG as in PNG.
_BLOCKS = {
    "big endian": tiff_directory(orientation(6), order=">"),
    "none": tiff_directory(_MAKER),
    "second entry": tiff_directory(_MAKER, orientation(6)),
    "zero, then six": tiff_directory(orientation(0), orientation(6)),
    "nine, then six": tiff_directory(orientation(9), orientation(6)),
    "one, then six": tiff_directory(orientation(1), orientation(6)),
    "of type long": tiff_directory(orientation(6, _LONG)),
    "of type text": tiff_directory(orientation(0x36, 2, 2)),
    "long, then short": tiff_directory(orientation(8, _LONG), orientation(6)),
    "two values": tiff_directory(orientation(6, _SHORT, 2)),
    "no value": tiff_directory(orientation(6, _SHORT, 0)),
    "counts too many": tiff_directory(orientation(6), count=50),
    "counts too few": tiff_directory(_MAKER, orientation(6), count=1),
    "without next directory": _SIX[:-4],
    "breaks off in the value": _SIX[:-6],
    "breaks off after the header": _SIX[:8],
    "directory far away": b"II*\0\xff\xff\xff\xff" + _SIX[8:],
    "directory at zero": b"II*\0\0\0\0\0" + _SIX[8:],
    "wrong magic": b"II+\0" + _SIX[4:],
    "mixed byte orders": b"IIMM" + _SIX[4:],
    "junk": b"junk" * 9,
    "empty": b"",
}


def readable() -> dict[str, bytes]:
    """Files that Chromium shows, by what is special about them."""
    white = Image.new("RGB", (WIDTH, HEIGHT), "white")
    palette = photo().quantize(4)
    gif = file_of(photo(), "GIF")
    rgba = photo().convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize((WIDTH, HEIGHT)))
    grey16 = Image.fromarray(np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16))
    cmyk = Image.new("CMYK", (WIDTH, HEIGHT), (40, 90, 130, 60))
    files = {
        f"{name}, orientation {value}": file_of(photo(), name, exif=exif(value))
        for name in ("JPEG", "PNG", "WEBP")
        for value in range(10)
    }
    files |= {f"JPEG, EXIF {name}": jpeg_with(_EXIF + block) for name, block in _BLOCKS.items()}
    files |= {
        f"PNG, EXIF {name}": png_with(png_chunk(b"eXIf", block)) for name, block in _BLOCKS.items()
    }
    xmp_chunk = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP)
    raw = b"\nexif\n%8d\n" % (6 + len(_SIX)) + (_EXIF + _SIX).hex().encode() + b"\n"
    text_chunk = png_chunk(b"tEXt", b"Raw profile type exif\0" + raw)
    return files | {
        "JPEG, XMP": file_of(photo(), "JPEG", xmp=_XMP),
        "WEBP, XMP": file_of(photo(), "WEBP", xmp=_XMP),
        "PNG, XMP": png_with(xmp_chunk),
        "JPEG, XMP, then EXIF": jpeg_with(b"http://ns.adobe.com/xap/1.0/\0" + _XMP, _EXIF + _SIX),
        "JPEG, two EXIF blocks": jpeg_with(
            _EXIF + tiff_directory(orientation(8)), _EXIF + tiff_directory(orientation(3))
        ),
        "JPEG, EXIF without, then with": jpeg_with(_EXIF + tiff_directory(_MAKER), _EXIF + _SIX),
        "JPEG, EXIF junk, then good": jpeg_with(_EXIF + b"junk" * 9, _EXIF + _SIX),
        "JPEG, EXIF, another pad": jpeg_with(b"Exif\0\1" + _SIX),
        "JPEG, exif in small letters": jpeg_with(b"exif\0\0" + _SIX),
        "PNG, EXIF with JPEG's name": png_with(png_chunk(b"eXIf", _EXIF + _SIX)),
        "PNG, EXIF behind the pixels": png_with(png_chunk(b"eXIf", _SIX), behind_pixels=True),
        "PNG, EXIF in a text": png_with(text_chunk),
        "JPEG of two pictures": file_of(
            photo(), "MPO", save_all=True, append_images=[photo(40, 40)], exif=exif(6)
        ),
        "APNG": file_of(photo(), "PNG", save_all=True, append_images=[white], exif=exif(6)),
        "WEBP, animated": file_of(
            photo(), "WEBP", save_all=True, append_images=[white], exif=exif(6)
        ),
        "GIF, animated": file_of(photo(), "GIF", save_all=True, append_images=[white]),
        "GIF, frame larger than the screen": gif[:6] + b"\1\0\1\0" + gif[10:],
        "JPEG, progressive": file_of(photo(), "JPEG", progressive=True),
        "JPEG, grey": file_of(photo().convert("L"), "JPEG"),
        "JPEG, CMYK": file_of(cmyk, "JPEG"),
        "PNG, palette": file_of(palette, "PNG"),
        "PNG, palette with transparency": file_of(palette, "PNG", transparency=0),
        "GIF, transparent": file_of(palette, "GIF", transparency=0),
        "PNG, transparent": file_of(rgba, "PNG"),
        "PNG, grey and transparent": file_of(rgba.convert("LA"), "PNG"),
        "PNG, 16 bit": file_of(grey16, "PNG"),
        "PNG, 1 bit": file_of(photo().convert("1"), "PNG"),
        "BMP": file_of(photo(), "BMP"),
        "1 x 1": file_of(photo().resize((1, 1)), "PNG"),
        "30000 x 10": file_of(photo(10, 30000), "JPEG"),
        "10 x 30000": file_of(photo(30000, 10), "PNG"),
    }


def unreadable() -> dict[str, tuple[bytes, str]]:
    """Files that are refused, and what the refusal says."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    jpeg, png, webp = (file_of(noise, name) for name in ("JPEG", "PNG", "WEBP"))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("photo.png", png)
    broken_check = png_with(png_chunk(b"eXIf", _SIX)[:-4] + b"1234")
    return {
        "nothing": (b"", "it is empty"),
        "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        "a web page called .png": (b"<!doctype html><title>Log in</title>", "a web page"),
        "a zip": (archive.getvalue(), "use one of JPEG, PNG"),
        "text": (b"hello", "use one of JPEG, PNG"),
        "zeros": (bytes(10_000), "use one of JPEG, PNG"),
        "JPEG that breaks off": (jpeg[: len(jpeg) // 2], "damaged"),
        "PNG that breaks off": (png[: len(png) // 2], "damaged"),
        "WEBP that breaks off": (webp[: len(webp) // 2], "damaged"),
        "PNG's beginning": (png[:20], "damaged"),
        "JPEG's beginning": (jpeg[:4], "begins as JPEG files do, but is damaged"),
        "PNG with a wrong checksum": (broken_check, "damaged"),
        "JPEG behind PNG's beginning": (png[:8] + jpeg, "begins as PNG files do, but is damaged"),
        "PNG called JPEG inside": (jpeg[:20] + png, "damaged"),
        "PNG of no width": (png_of_zeros(1, 0), "damaged"),
        "BMP of no height": (b"BM" + bytes(60), "damaged"),
    }
