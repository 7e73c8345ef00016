"""The labelled photos the demo model is trained on, read from folders of several sources."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from self1e.recipe.concepts import (
    NOT_CLOTHES,
    SOURCES,
    WHOLES,
    Source,
    canonical,
    derived_concepts,
    known_concepts,
)

BoolMask = NDArray[np.bool_]

_IGNORE = 255
_HELD_OUT_PERCENT: Mapping[Source, int] = {
    "voc": 8,
    "ccp": 10,
    "coco128": 25,
    "people": 10,
    "davis": 10,
    "faces": 10,
}
# Picks the draw that holds out faces and one filmed thing near their share, though they are few.
_HELD_OUT_DRAW = 377
# Animals and vehicles so large in a photo that one connected piece is one of them, unlike horses,
# people or chairs, which are often marked in clusters.
_SELDOM_TOUCHING = frozenset({"airplane", "bus", "cat", "dog", "motorcycle", "train"})
_NOT_COUNTED = frozenset({"accessories", "clothes", "face skin", "skin"})
_WHOLE_SHARE = 0.97  # of a concept's pixels in the largest piece, to call it one piece


@dataclass(frozen=True)
class Region:
    """All pixels of one concept in a photo.

    Attributes:
        concept: Canonical name.
        mask: (H, W) bool.
        instances: One (H, W) mask per thing where they are told apart, otherwise empty.
    """

    concept: str
    mask: BoolMask
    instances: tuple[BoolMask, ...] = ()


@dataclass(frozen=True)
class LabelledImage:
    """A photo's pixels and marks.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        regions: One per concept seen.
        ignore: (H, W) bool, pixels of which nothing is known; None when there are none.
        known_concepts: Concepts that are truly absent when they are not among the regions.
    """

    image: NDArray[np.uint8]
    regions: tuple[Region, ...]
    ignore: BoolMask | None
    known_concepts: frozenset[str]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True)
class _LabelMap:
    """Marks as an image of label numbers."""

    path: Path
    names: Mapping[int, str]

    def read(self) -> NDArray[np.uint8]:
        values = cv2.imread(str(self.path), cv2.IMREAD_GRAYSCALE)
        if values is None:
            raise FileNotFoundError(f"no label image at {self.path}")
        return np.asarray(values, dtype=np.uint8)


@dataclass(frozen=True)
class _Polygons:
    """Marks as one outline per thing, in pixels of the photo."""

    outlines: tuple[tuple[str, NDArray[np.int32]], ...]


@dataclass(frozen=True)
class Photo:
    """A photo that is not read yet.

    Attributes:
        name: "source/file name without suffix", unique.
        source: The folder it comes from.
        path: The photo itself.
        concepts: Canonical names of what is marked in it, and of what follows from that.
        group: Photos of one group are near-duplicates.
        marks: Where its marks are.
    """

    name: str
    source: Source
    path: Path
    concepts: frozenset[str]
    group: str
    marks: _LabelMap | _Polygons

    def load(self) -> LabelledImage:
        """Read the photo and its marks.

        Raises:
            FileNotFoundError: If the photo or its label image is gone.
        """
        pixels = cv2.imread(str(self.path), cv2.IMREAD_COLOR)
        if pixels is None:
            raise FileNotFoundError(f"no photo at {self.path}")
        image = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        ignore: BoolMask | None = None
        if isinstance(self.marks, _Polygons):
            regions = _draw_outlines(self.marks, image.shape[0], image.shape[1])
        else:
            values = self.marks.read()
            regions = _split_labels(values, self.marks.names)
            regions = _derive(self.source, regions, values)
            if (values == _IGNORE).any():
                ignore = values == _IGNORE
        if self.source in ("voc", "coco128"):
            regions += [
                Region(name, np.logical_or.reduce(masks))
                for name, members in WHOLES.items()
                if (masks := [region.mask for region in regions if region.concept in members])
            ]
        known = known_concepts(self.source, {region.concept for region in regions})
        return LabelledImage(image, tuple(regions), ignore, known)


def _draw_outlines(marks: _Polygons, height: int, width: int) -> list[Region]:
    instances: dict[str, list[BoolMask]] = {}
    for concept, outline in marks.outlines:
        mask = np.zeros((height, width), dtype=np.uint8)
        cv2.fillPoly(mask, [outline], 1)
        instances.setdefault(concept, []).append(mask.astype(np.bool_))
    return [
        Region(concept, np.logical_or.reduce(masks), tuple(masks))
        for concept, masks in instances.items()
    ]


def _split_labels(values: NDArray[np.uint8], names: Mapping[int, str]) -> list[Region]:
    masks: dict[str, BoolMask] = {}
    for value in np.flatnonzero(np.bincount(values.ravel(), minlength=256)):
        concept = names.get(int(value))
        if concept is not None:
            masks[concept] = masks.get(concept, np.False_) | (values == value)
    return [Region(concept, mask) for concept, mask in masks.items()]


def _derive(source: Source, regions: list[Region], values: NDArray[np.uint8]) -> list[Region]:
    """Add what follows from a source's own marks: wholes of parts, and what is one thing."""
    if source == "voc":
        return [
            Region(region.concept, region.mask, (region.mask,))
            if region.concept in _SELDOM_TOUCHING and _is_one_piece(region.mask)
            else region
            for region in regions
        ]
    if source == "ccp":
        clothes = [r.mask for r in regions if r.concept not in NOT_CLOTHES]
        regions = [*regions, Region("person", (values > 0) & (values != _IGNORE))]
        if clothes:
            regions.append(Region("clothes", np.logical_or.reduce(clothes)))
    elif source == "faces":
        regions = _derive_face(regions)
    else:
        return regions
    # One person is marked in each of these photos, and wears one of each.
    return [
        region
        if region.concept in _NOT_COUNTED
        else Region(region.concept, region.mask, (region.mask,))
        for region in regions
    ]


def _is_one_piece(mask: BoolMask) -> bool:
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    return bool(areas.max() >= _WHOLE_SHARE * areas.sum())


def _derive_face(regions: list[Region]) -> list[Region]:
    """Tell eyebrows from hair, with which the source marks them, and add the whole face."""
    masks = {region.concept: region.mask for region in regions}
    if "hair" in masks and "eyes" in masks:
        hair = masks["hair"].astype(np.uint8)
        rows, columns = np.nonzero(masks["eyes"])
        count, pieces, stats, centres = cv2.connectedComponentsWithStats(hair)
        brows = [
            piece
            for piece in range(1, count)
            if stats[piece, cv2.CC_STAT_AREA] < 0.03 * hair.size
            and columns.min() < centres[piece, 0] < columns.max()
            and rows.min() - 0.15 * hair.shape[0] < centres[piece, 1] < rows.mean()
        ]
        if brows:
            masks["eyebrows"] = np.isin(pieces, brows)
            masks["hair"] = masks["hair"] & ~masks["eyebrows"]
    inside = [mask for concept, mask in masks.items() if concept != "hair"]
    if "face skin" in masks:
        masks["face"] = np.logical_or.reduce(inside)
        masks["skin"] = masks["face skin"]
    return [Region(concept, mask) for concept, mask in masks.items()]


def _read_label_maps(folder: Path, source: Source) -> Iterator[Photo]:
    labels: dict[str, str] = json.loads((folder / "labels.json").read_text())
    names = {int(value): concept for value, name in labels.items() if (concept := canonical(name))}
    for path in sorted((folder / "images").glob("*.jpg")):
        marks = _LabelMap(folder / "labels" / f"{path.stem}.png", names)
        seen = np.flatnonzero(np.bincount(marks.read().ravel(), minlength=256))
        concepts = frozenset(names[int(value)] for value in seen if int(value) in names)
        group = "+".join(sorted(concepts)) if source == "davis" else _digest(path)
        concepts |= derived_concepts(source, concepts)
        yield Photo(f"{source}/{path.stem}", source, path, concepts, group, marks)


def _read_polygons(folder: Path, source: Source) -> Iterator[Photo]:
    entries: list[dict[str, Any]] = json.loads((folder / "instances.json").read_text())
    for entry in sorted(entries, key=lambda entry: str(entry["image"])):
        path = folder / str(entry["image"])
        outlines = tuple(
            (concept, np.round(np.reshape(thing["polygon"], (-1, 2))).astype(np.int32))
            for thing in entry["instances"]
            if (concept := canonical(str(thing["category"])))
        )
        concepts = frozenset(concept for concept, _ in outlines)
        concepts |= derived_concepts(source, concepts)
        name = f"{source}/{path.stem}"
        yield Photo(name, source, path, concepts, _digest(path), _Polygons(outlines))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_photos(data_dir: Path) -> list[Photo]:
    """List the photos of every known source folder, in a fixed order.

    Args:
        data_dir: Holds a folder per source; missing ones are passed over.

    Raises:
        FileNotFoundError: If no source folder is there, or a photo has no marks.
    """
    photos: list[Photo] = []
    for source in SOURCES:
        folder = data_dir / source
        if (folder / "instances.json").is_file():
            photos.extend(_read_polygons(folder, source))
        elif (folder / "labels.json").is_file():
            photos.extend(_read_label_maps(folder, source))
    if not photos:
        raise FileNotFoundError(f"no labelled photos under {data_dir}")
    return photos


def held_out(photo: Photo) -> bool:
    """Whether a photo is kept from training, decided by its group alone.

    Near-duplicates share a group (identical files, or frames that show the same thing), so none
    of them is on the other side.
    """
    digest = hashlib.sha256(f"{_HELD_OUT_DRAW}:{photo.group}".encode()).digest()
    draw = int.from_bytes(digest[:4], "big") % 100
    return draw < _HELD_OUT_PERCENT[photo.source]
