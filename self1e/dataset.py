"""Samples on disk: a JSONL file of image, prompt and mask, paths relative to it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_KEYS = ("image", "prompt", "mask", "ignore")


class SamplesError(ValueError):
    """A samples file, or a mask it names, cannot be used; the message names line and file."""


@dataclass(frozen=True)
class SegmentationSample:
    """One prompt about one image and its ground truth.

    Attributes:
        image: path of the photo.
        prompt: referring expression.
        mask: path of the ground truth, 8-bit, 255 where the object is and 0 elsewhere.
        ignore: path of an 8-bit mask, 255 where pixels do not count; None: all count.
    """

    image: Path
    prompt: str
    mask: Path
    ignore: Path | None = None

    def load_mask(self) -> NDArray[np.bool_]:
        """The ground truth, bool (H, W).

        Raises:
            SamplesError: the file is missing or no image.
        """
        return _load_mask(self.mask)

    def load_counted(self) -> NDArray[np.bool_] | None:
        """Which pixels count, bool (H, W); None if all do.

        Raises:
            SamplesError: the file is missing or no image.
        """
        return None if self.ignore is None else ~_load_mask(self.ignore)


def read_samples(path: Path) -> list[SegmentationSample]:
    """Reads a samples file: each line {"image", "prompt", "mask"} and, at will, "ignore".

    Raises:
        SamplesError: the file cannot be read, or a line is not such an object.
    """
    try:
        # JSON strings may hold what splitlines takes for an end of line, such as U+2028.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SamplesError(f"{path} cannot be read: {error}") from error
    return [
        _parse(line, path, number) for number, line in enumerate(lines, start=1) if line.strip()
    ]


def _parse(line: str, path: Path, number: int) -> SegmentationSample:
    try:
        fields = json.loads(line)
    except ValueError:
        fields = None
    texts = [fields.get(key) for key in _KEYS] if isinstance(fields, dict) else []
    match texts:
        case [str(image), str(prompt), str(mask), str() | None as ignore]:
            folder = path.parent
            return SegmentationSample(
                folder / image, prompt, folder / mask, None if ignore is None else folder / ignore
            )
    raise SamplesError(
        f'{path}, line {number}: expected {{"image": ..., "prompt": ..., "mask": ...}}, '
        f"got {line[:80]!r}"
    )


def _load_mask(path: Path) -> NDArray[np.bool_]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L")) > 127
    except OSError as error:
        raise SamplesError(f"The mask {path} cannot be read: {error}") from error
