"""The held-out photos as question files, to measure a model with `python -m self1e evaluate`."""

import json
import shutil
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from self1e.recipe.concepts import Source, surely_absent
from self1e.recipe.photos import BoolMask, LabelledImage, Photo, held_out
from self1e.recipe.phrases import phrase, reference_phrase
from self1e.recipe.targets import Mark, references, shrink_mask

_SMALLEST_AREA = 0.002  # share of the photo, as in training
_PER_PHOTO = 8  # references and, person aside, other questions about one photo, at most
_PARTS_PER_PHOTO = 4
_ABSENT_PER_PHOTO = 1
_NOT_ASKED = frozenset({"animal", "vehicle", "clothes", "face"})  # no source's own label
_ABSENT_SOURCES = ("voc", "ccp", "coco128")


@dataclass(frozen=True)
class _Question:
    kind: str
    prompt: str
    mask: BoolMask


def write_held_out(photos: Sequence[Photo], out_dir: Path, seed: int) -> dict[str, Path]:
    """Write one JSONL file of questions per kind, with copies of the photos and mask PNGs.

    Each line is {"image", "prompt", "mask"} with paths relative to the file, and "ignore" where
    some pixels must not count. Masks have the photo's own size: 255 where asked for, 0 elsewhere.
    A thing is asked for by its canonical name; only references are full phrases.

    Args:
        photos: All photos; those that are not held out are passed over.
        out_dir: Created if missing; files of the same names are replaced.
        seed: Draws which questions are asked; the same seed writes the same files.

    Returns:
        Kind of question (a source's name, "coco128-references" or "absent") to its file.

    Raises:
        FileNotFoundError: If a photo is gone.
    """
    (out_dir / "images").mkdir(parents=True, exist_ok=True)
    (out_dir / "masks").mkdir(parents=True, exist_ok=True)
    shown: dict[Source, set[str]] = {}
    for photo in photos:
        shown.setdefault(photo.source, set()).update(photo.concepts)
    lines: dict[str, list[str]] = {}
    for photo in filter(held_out, photos):
        rng = Random(f"{seed}:{photo.name}")
        labelled = photo.load()
        stem = photo.name.replace("/", "-")
        questions = list(_questions(photo, labelled, shown[photo.source], rng))
        if not questions:
            continue
        image = Path("images", stem + photo.path.suffix)
        shutil.copyfile(photo.path, out_dir / image)
        entry: dict[str, str] = {"image": image.as_posix()}
        if labelled.ignore is not None:
            entry["ignore"] = _save(labelled.ignore, out_dir, f"{stem}-ignore")
        for number, question in enumerate(questions):
            mask = _save(question.mask, out_dir, f"{stem}-{number}")
            line = json.dumps({**entry, "prompt": question.prompt, "mask": mask}, sort_keys=True)
            lines.setdefault(question.kind, []).append(line)
    files = {}
    for kind, entries in lines.items():
        files[kind] = out_dir / f"{kind}.jsonl"
        files[kind].write_text("\n".join(entries) + "\n")
    return files


def _save(mask: BoolMask, out_dir: Path, stem: str) -> str:
    path = Path("masks", f"{stem}.png")
    Image.fromarray(mask.astype(np.uint8) * 255).save(out_dir / path)
    return path.as_posix()


def _questions(
    photo: Photo, labelled: LabelledImage, shown: Set[str], rng: Random
) -> Iterator[_Question]:
    regions = [
        region
        for region in labelled.regions
        if region.mask.mean() >= _SMALLEST_AREA and region.concept not in _NOT_ASKED
    ]
    most = _PARTS_PER_PHOTO if photo.source == "ccp" else _PER_PHOTO
    people = [region for region in regions if region.concept == "person"]
    others = [region for region in regions if region.concept != "person"]
    for region in people + rng.sample(others, min(most, len(others))):
        yield _Question(photo.source, region.concept, region.mask)
    if photo.source == "coco128":
        told = [
            (region, which, thing)
            for region in regions
            for which, thing in references(
                [Mark.of(shrink_mask(instance)) for instance in region.instances]
            )
        ]
        for region, which, thing in rng.sample(told, min(_PER_PHOTO, len(told))):
            prompt = reference_phrase(which, region.concept, rng)
            yield _Question("coco128-references", prompt, region.instances[thing])
    if photo.source in _ABSENT_SOURCES:
        present = {region.concept for region in labelled.regions}
        absent = sorted(surely_absent(labelled.known_concepts, present) & shown - _NOT_ASKED)
        for concept in rng.sample(absent, min(_ABSENT_PER_PHOTO, len(absent))):
            nothing = np.zeros(labelled.size, dtype=np.bool_)
            yield _Question("absent", phrase(concept, rng, plural=False), nothing)
