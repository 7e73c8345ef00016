"""Image files, decoded as the browser shows them."""

import io
import struct
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from backend.errors import ImageError

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"RIFF": "WEBP",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
}
_ORIENTATION_TAG = 0x0112
_SHORT = 3  # the EXIF type that an orientation must have
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(data: bytes, *, max_megapixels: float) -> Image.Image:
    """Decodes an image file into what the annotator sees in the browser.

    That is the first frame or page, upright, in the size that the browser calls natural: turned
    by the EXIF orientation in JPEG and PNG, and not in WebP, where Chromium ignores it. Where it
    is transparent it is white, as Label Studio's canvas is light. 16 bits per channel are reduced
    to the higher 8; wider grey values (TIFF) are stretched from their own range.

    Args:
        data: The file: JPEG, PNG, WebP, BMP, TIFF or GIF, whatever its name was.
        max_megapixels: Largest height x width, in millions.

    Returns:
        An RGB image.

    Raises:
        ImageError: The file is of another format, damaged or too large.
    """
    with warnings.catch_warnings():
        # Pillow warns of what is handled here: sizes over its own limit, damaged EXIF.
        warnings.simplefilter("ignore")
        return _decode(data, max_megapixels)


def _decode(data: bytes, max_megapixels: float) -> Image.Image:
    """Does what `decode_image` says."""
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError(f"The file is not an image that can be read: {_guess(data)}.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"The image is too large: {error}") from error
    except Exception as error:
        raise _damaged(error) from error
    with image:
        width, height = image.size
        if width * height > max_megapixels * 1e6:
            raise ImageError(
                f"The image has {width} x {height} pixels, more than {max_megapixels:g} "
                "megapixels: use a smaller one, or raise SELF1E_MAX_IMAGE_MEGAPIXELS."
            )
        # Before the pixels: what stands behind them in a PNG, browsers do not read.
        turn = _TURNS.get(_orientation(image))
        try:
            image.load()
            rgb = _to_rgb(image)
        except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
            raise _damaged(error) from error
    return rgb if turn is None else rgb.transpose(turn)


def _damaged(error: Exception) -> ImageError:
    """The error for a file that breaks off or makes no sense."""
    return ImageError(f"The image file is damaged ({error}): upload it again.")


def _guess(data: bytes) -> str:
    """What a file may be that is no image, and what to do."""
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not data:
        return "it is empty"
    if b"<svg" in start:
        return "it is an SVG drawing; convert it to PNG"
    if start.startswith((b"<!doctype html", b"<html")):
        return "it is a web page, perhaps for logging in; use the image's own address"
    for sign, name in _STARTS.items():
        if data.startswith(sign):
            return f"it begins as {name} files do, but is damaged or incomplete; upload it again"
    return f"use one of {', '.join(_FORMATS)}"


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation that Chromium obeys, 1 (upright) to 8.

    Not `ImageOps.exif_transpose`: it obeys XMP too, and WebP, and blocks that Chromium finds
    damaged, which makes a mask of a height and width that the editor cannot show. Pillow turns
    TIFF by itself.
    """
    if image.format in {"JPEG", "MPO"}:
        segments = getattr(image, "applist", [])
        exif = (block for name, block in segments if name == "APP1" and block[:5] == b"Exif\0")
        return _read_orientation(next(exif, b""))
    if image.format == "PNG":
        return _read_orientation(image.info.get("exif", b""))
    return 1


def _read_orientation(exif: bytes) -> int:
    """The orientation in an EXIF block, 1 if Chromium finds none in it."""
    tiff = exif[6:]  # "Exif" and two bytes more
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for index in range(entries):
            entry = struct.unpack_from(f"{order}HHIHxx", tiff, directory + 2 + 12 * index)
            if entry[:3] == (_ORIENTATION_TAG, _SHORT, 1) and 1 <= entry[3] <= 8:
                return int(entry[3])
    except struct.error:
        return 1  # it breaks off
    return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """The image in 8-bit RGB, on white."""
    if image.mode.startswith("I;16"):
        high_bytes = np.asarray(image).astype(np.uint16) >> 8
        return Image.fromarray(high_bytes.astype(np.uint8)).convert("RGB")
    if image.mode in {"I", "F"}:
        grey = np.nan_to_num(np.asarray(image, dtype=np.float32))
        low, high = grey.min(), grey.max()
        stretched = (grey - low) * (255 / max(high - low, 1e-12))
        return Image.fromarray(stretched.round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", rgba.size, "white")
        white.paste(rgba, mask=rgba)  # mixes with the alpha channel
        return white
    return image.convert("RGB")
