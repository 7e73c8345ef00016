"""Photos of cars with their parts marked, what of them is taught, and what is kept aside."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from self1e.dataset import SegmentationSample
from tests.annotated import brush, typed

PARTS = ("wheel", "hood", "front bumper", "front glass", "front left door")
"""Names of labels.json; each is asked for as "the wheel"."""

_IGNORE = 255
_SMALLEST_AREA = 0.002  # share of the photo; less is a speck that nobody would ask for
_SAME_PICTURE = 0.97  # correlation of thumbnails
_THUMBNAIL = (24, 16)


@dataclass(frozen=True)
class PartPhoto:
    """A photo and where its parts are marked.

    Attributes:
        path: of the photo.
        labels: path of its label image.
        values: the number of each of PARTS there.
    """

    path: Path
    labels: Path
    values: tuple[int, ...]

    def parts(self) -> dict[str, NDArray[np.bool_]]:
        """The mask of each part that can be seen, bool (H, W)."""
        marked = self._read()
        masks = {name: marked == value for name, value in zip(PARTS, self.values, strict=True)}
        return {name: mask for name, mask in masks.items() if mask.mean() >= _SMALLEST_AREA}

    def unknown(self) -> NDArray[np.bool_]:
        """The pixels of which nothing is known, bool (H, W)."""
        unknown: NDArray[np.bool_] = self._read() == _IGNORE
        return unknown

    def _read(self) -> NDArray[np.uint8]:
        with Image.open(self.labels) as image:
            return np.asarray(image.convert("L"))


def read_part_photos(directory: Path) -> list[PartPhoto]:
    """The photos that show a part, by name; of two that show the same the first.

    Args:
        directory: has images/NAME.jpg, labels/NAME.png and labels.json, which names the numbers.

    Raises:
        OSError: a file is missing or no image.
        ValueError: labels.json lacks a part.
    """
    numbers = {
        name: int(value)
        for value, name in json.loads((directory / "labels.json").read_text()).items()
    }
    if missing := [part for part in PARTS if part not in numbers]:
        raise ValueError(f"{directory / 'labels.json'} lacks {', '.join(missing)}")
    values = tuple(numbers[part] for part in PARTS)
    photos: list[PartPhoto] = []
    thumbnails: list[NDArray[np.float64]] = []
    for path in sorted((directory / "images").glob("*.jpg")):
        photo = PartPhoto(path, directory / "labels" / f"{path.stem}.png", values)
        thumbnail = _thumbnail(path)
        # A photo kept aside must not have been taught under another name.
        if photo.parts() and all(thumbnail @ other < _SAME_PICTURE for other in thumbnails):
            photos.append(photo)
            thumbnails.append(thumbnail)
    return photos


def split(photos: Sequence[PartPhoto], taught: int) -> tuple[list[PartPhoto], list[PartPhoto]]:
    """The photos to teach, as many as asked for, and the others; always the same ones.

    Raises:
        ValueError: none would be left.
    """
    if taught >= len(photos):
        raise ValueError(
            f"There are {len(photos)} photos: with {taught} to teach none is kept aside"
        )
    drawn = Random(0).sample(photos, len(photos))
    return drawn[:taught], drawn[taught:]


def prompt(part: str) -> str:
    """What is typed to get a part."""
    return f"the {part}"


def label_config() -> str:
    """A labeling config with a prompt and a label per part."""
    labels = "".join(f'<Label value="{part}"/>' for part in PARTS)
    return f"""<View>
  <Image name="image" value="$image"/>
  <TextArea name="prompt" toName="image" smartOnly="true" rows="1"/>
  <BrushLabels name="mask" toName="image" smart="false">{labels}</BrushLabels>
</View>"""


def annotation_results(photo: PartPhoto) -> list[dict[str, Any]]:
    """What the editor saves of an annotator who asked for each part and corrected the mask."""
    regions = []
    for part, mask in photo.parts().items():
        height, width = mask.shape
        regions.append(
            brush(
                mask,
                part,
                prompt=prompt(part),
                original_height=height,
                original_width=width,
                origin="prediction-changed",
            )
        )
    return [*regions, typed(*(region["meta"]["prompt"] for region in regions))]


def write_samples(photos: Sequence[PartPhoto], directory: Path) -> list[SegmentationSample]:
    """Writes the masks of photos, for `self1e.evaluate`."""
    directory.mkdir(parents=True, exist_ok=True)

    def write(name: str, mask: NDArray[np.bool_]) -> Path:
        path = directory / f"{name}.png"
        Image.fromarray(mask.astype(np.uint8) * 255).save(path)
        return path

    samples = []
    for photo in photos:
        unknown = photo.unknown()
        ignore = write(f"{photo.path.stem}-unknown", unknown) if unknown.any() else None
        for part, mask in photo.parts().items():
            path = write(f"{photo.path.stem}-{part.replace(' ', '-')}", mask)
            samples.append(SegmentationSample(photo.path, prompt(part), path, ignore))
    return samples


def _thumbnail(path: Path) -> NDArray[np.float64]:
    """A few grey pixels, of mean 0 and length 1."""
    with Image.open(path) as image:
        small = image.convert("L").resize(_THUMBNAIL, Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.float64).ravel()
    pixels -= pixels.mean()
    length = float(np.linalg.norm(pixels))
    return pixels / length if length else pixels
