"""A JSON export of Label Studio with photos that teach "the square"."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.brush_rle import encode_mask
from tests.taught_photos import square_photo


def annotated_task(task_id: int, photo: Path, mask: NDArray[np.bool_], prompt: str) -> Any:
    """A task with one accepted region, as an export has it."""
    height, width = mask.shape
    region = {
        "id": f"region{task_id}",
        "type": "brushlabels",
        "from_name": "mask",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "origin": "prediction",
        "meta": {"prompt": prompt},
        "value": {"format": "rle", "rle": encode_mask(mask), "brushlabels": ["Square"]},
    }
    annotation = {"id": task_id, "was_cancelled": False, "result": [region]}
    return {
        "id": task_id,
        "data": {"image": f"/data/upload/1/{photo.name}"},
        "annotations": [annotation],
    }


def write_export(
    directory: Path, seeds: range, *, prompt: str = "the square", inverted: bool = False
) -> Path:
    """Writes photos into `directory/images` and an export of their tasks.

    Returns:
        The export's path.
    """
    images = directory / "images"
    images.mkdir(parents=True, exist_ok=True)
    tasks = []
    for number, seed in enumerate(seeds, start=1):
        image, mask = square_photo(seed)
        path = images / f"{seed}.png"
        image.save(path)
        tasks.append(annotated_task(number, path, ~mask if inverted else mask, prompt))
    export = directory / "export.json"
    export.write_text(json.dumps(tasks))
    return export
