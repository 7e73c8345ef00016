"""Collected samples as files that the model's side reads, split for training and for the gate.

Photos are told apart by their content, so that the split stays the same whatever the tasks' ids,
and one photo in two tasks is never on both sides. It grows without changing sides: a photo that was
trained on never becomes a held-out one.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.errors import AnnotationError, FinetuneError, ImageError, LabelStudioError
from backend.image_embeddings import ImageSource
from backend.images import decode_image
from backend.log import log_event
from backend.training_samples import LeftOut, LeftOutTally, TrainingSample
from self1e.dataset import SegmentationSample

logger = logging.getLogger(__name__)

FEWEST_PHOTOS = 10
HELD_OUT_SHARE, VALIDATION_SHARE = 0.2, 0.1
_FEWEST_HELD_OUT = 5
_LONG_SIDE = 2048  # of the photos kept for training, in pixels
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class TrainingSet:
    """Samples on disk.

    `frame_shares` has, for each mask that is not empty, the shares of the photo's edge and of the
    photo that it covers. `labels` and `task_ids` give the label and the task of a sample by its
    mask's path.
    """

    train: tuple[SegmentationSample, ...]
    validation: tuple[SegmentationSample, ...]
    held_out: tuple[SegmentationSample, ...]
    frame_shares: tuple[tuple[float, float], ...]
    left_out: Mapping[str, LeftOut]
    labels: Mapping[Path, str]
    task_ids: Mapping[Path, int]


def write_training_set(
    samples: Sequence[TrainingSample],
    images: ImageSource,
    directory: Path,
    *,
    max_megapixels: float,
    pause: Callable[[], None] = lambda: None,
) -> TrainingSet:
    """Fetches the photos and writes them with the masks.

    Photos whose image cannot be had are left out and counted.

    Args:
        samples: by task.
        images: fetches the image files.
        directory: where the files go.
        max_megapixels: largest image.
        pause: called before each photo; returns when work may go on.

    Raises:
        FinetuneError: there are too few photos.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tally = LeftOutTally()
    written: dict[str, list[SegmentationSample]] = {}
    labels: dict[Path, str] = {}
    task_ids: dict[Path, int] = {}
    frame_shares: list[tuple[float, float]] = []
    for task_id, group in groupby(samples, key=lambda sample: sample.task_id):
        pause()
        about_task = list(group)
        try:
            data = images.fetch(about_task[0].image_url, task_id=task_id)
            image = decode_image(data, max_megapixels=max_megapixels)
        except (ImageError, LabelStudioError) as error:
            log_event(logger, logging.WARNING, "no image", task=task_id, detail=error)
            tally.add("its image could not be fetched or read", task_id)
            continue
        digest = hashlib.sha256(data).hexdigest()
        photo = directory / f"{digest[:16]}.jpg"
        for number, sample in enumerate(about_task):
            try:
                mask = sample.mask(image.height, image.width)
            except AnnotationError as error:
                tally.add(str(error), task_id)
                continue
            if mask.any():
                frame_shares.append(_frame_share(mask))
            path = directory / f"{digest[:16]}-{task_id}-{number}.png"
            _reduced(Image.fromarray(mask.astype(np.uint8) * 255), Image.Resampling.BOX).save(path)
            labels[path] = sample.label
            task_ids[path] = task_id
            written.setdefault(digest, []).append(SegmentationSample(photo, sample.prompt, path))
        if digest in written and not photo.is_file():
            _reduced(image, Image.Resampling.LANCZOS).save(
                photo, quality=_JPEG_QUALITY, subsampling=0
            )
    held_out, validation, train = split_photos(list(written))
    return TrainingSet(
        train=tuple(sample for digest in train for sample in written[digest]),
        validation=tuple(sample for digest in validation for sample in written[digest]),
        held_out=tuple(sample for digest in held_out for sample in written[digest]),
        frame_shares=tuple(frame_shares),
        left_out=tally.left_out(),
        labels=labels,
        task_ids=task_ids,
    )


def split_photos(digests: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Held-out, validation and training photos.

    A digest is a number that says nothing of the photo. The lowest are held out: a fifth of all
    numbers, or the lowest five of a few; the next tenth says when to stop.

    Args:
        digests: SHA-256 of each photo, in hex.

    Raises:
        FinetuneError: there are too few.
    """
    ordered = sorted(digests)
    if len(ordered) < FEWEST_PHOTOS:
        raise FinetuneError(
            f"There are {len(ordered)} annotated photos, and at least {FEWEST_PHOTOS} are needed "
            "to learn and to check what was learned. Annotate more."
        )
    in_share = sum(int(digest[:8], 16) < HELD_OUT_SHARE * 16**8 for digest in ordered)
    held_out = min(max(in_share, _FEWEST_HELD_OUT), len(ordered) // 2)
    stop = held_out + max(1, round(VALIDATION_SHARE * len(ordered)))
    return ordered[:held_out], ordered[held_out:stop], ordered[stop:]


def _frame_share(mask: NDArray[np.bool_]) -> tuple[float, float]:
    edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return float(edge.mean()), float(mask.mean())


def _reduced(picture: Image.Image, how: Image.Resampling) -> Image.Image:
    scale = _LONG_SIDE / max(picture.size)
    if scale >= 1:
        return picture
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), how)
