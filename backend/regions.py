"""Turns masks into the regions Label Studio stores and shows.

https://labelstud.io/guide/predictions says what a prediction holds; `meta`, `score` and `origin`
stay with a region when the annotator accepts it.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.bitmask import encode_bitmask
from backend.brush_rle import encode_mask
from backend.label_config import MaskControl
from backend.mask_cleanup import mask_pieces, without_specks
from backend.outlines import mask_box, mask_polygons
from backend.parameters import MaskMode, MaskParameters
from backend.prompts import LabelledPrompt

MAX_REGIONS = 50
"""Most regions of one prompt: the largest are kept. Label Studio's editor slows down with more."""
MAX_TASK_REGIONS = 200
"""Most regions of one answer, shared equally among its prompts."""

_ID_CHARACTERS = 12
_PERCENT_DECIMALS = 4


def regions_of_each(prompts: int) -> int:
    """Most regions of each of so many prompts, at least one."""
    return max(1, min(MAX_REGIONS, MAX_TASK_REGIONS // prompts))


def mask_regions(
    mask: NDArray[np.bool_],
    score: float,
    prompt: LabelledPrompt,
    control: MaskControl,
    *,
    parameters: MaskParameters,
    image_digest: str,
    model_version: str,
    most: int = MAX_REGIONS,
) -> list[dict[str, Any]]:
    """The results that draw one mask in Label Studio, specks and pin-holes taken out.

    A brush, a bitmask and a rectangle take one region for everything, or one per piece of the mask
    if `parameters.mode` is "each"; polygons are one per piece in both (see `mask_polygons`). With
    the mode "one" only the largest piece becomes a region. A control with labels of its own takes
    one result per region; a control beside a Labels tag takes two of one id, each with the shape,
    as Label Studio saves them itself and demands in its validation. A prompt without a label gives
    regions without one, which the annotator can then label.

    Args:
        mask: (H, W) bool, of the image's own upright size.
        score: how sure the model is, 0..1; values outside are clamped and NaN is 0.
        prompt: what was asked, and the label the regions get.
        control: the control the regions go to.
        parameters: what the mask was made with.
        image_digest: what identifies the image's content.
        model_version: the version that made the mask.
        most: how many regions; the largest are kept.

    Returns:
        Results for a prediction's `result`, of plain JSON values; none for an empty mask, which
        would be a region nobody can see or select. Region ids depend on the arguments but not on
        the pixels, nor on what else is asked: Label Studio sends a prompt again on Submit, and a
        region of an equal id replaces the one that is there, where another would add one.
    """
    height, width = mask.shape
    labels = [prompt.label] if prompt.label else []
    shared = {
        "to_name": control.to_name,
        "origin": "prediction",
        "score": _clamped(score),
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "meta": {"prompt": prompt.text, "model_version": model_version},
    }
    identity = [
        image_digest,
        *prompt.identity,
        [control.kind, control.from_name, control.to_name, control.labels_name],
        model_version,
        [parameters.threshold, _region_mode(control, parameters)],
    ]
    regions: list[dict[str, Any]] = []
    for index, shape in enumerate(_shapes(mask, control, parameters, most)):
        values: dict[str, tuple[str, dict[str, Any]]]  # by type: control and value
        if control.kind == control.shape + "labels":
            values = {control.kind: (control.from_name, {**shape, control.kind: labels})}
        else:
            values = {control.shape: (control.from_name, shape)}
            if labels and control.labels_name is not None:
                values["labels"] = (control.labels_name, {**shape, "labels": labels})
        region_id = _region_id([*identity, index])
        regions += [
            {"id": region_id, **shared, "from_name": from_name, "type": kind, "value": value}
            for kind, (from_name, value) in values.items()
        ]
    return regions


def _shapes(
    mask: NDArray[np.bool_], control: MaskControl, parameters: MaskParameters, most: int
) -> Iterator[dict[str, Any]]:
    """The values, still without labels, of the regions that draw a mask."""
    clean = without_specks(mask)
    if not clean.any():
        return
    mode = _region_mode(control, parameters)
    limit = 1 if mode == "one" else most
    for part in [clean] if mode == "everything" else mask_pieces(clean, limit):
        if control.shape == "polygon":
            for polygon in mask_polygons(part, limit):
                yield _polygon_value(polygon, mask.shape)
        elif control.shape == "rectangle":
            yield _rectangle_value(part)
        elif control.shape == "bitmask":
            yield {"imageDataURL": encode_bitmask(part)}
        else:
            yield {"format": "rle", "rle": encode_mask(part)}


def _region_mode(control: MaskControl, parameters: MaskParameters) -> MaskMode:
    """The mode; of polygons everything is the same as each, and gets the same regions."""
    is_each = parameters.mode == "each"
    return "everything" if is_each and control.shape == "polygon" else parameters.mode


def _polygon_value(polygon: NDArray[np.float64], size: tuple[int, ...]) -> dict[str, Any]:
    """Points in percent of the image's width and height."""
    height, width = size
    percent = np.round(100 * polygon / (width, height), _PERCENT_DECIMALS)
    return {"points": percent.tolist(), "closed": True}


def _rectangle_value(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """The box around a mask in percent of the image's width and height."""
    height, width = mask.shape
    box = mask_box(mask)
    x, y = 100 * box.left / width, 100 * box.top / height
    return {
        "x": x,
        "y": y,
        # Rounding must not push the far edges out of the image.
        "width": min(100 * box.width / width, 100 - x),
        "height": min(100 * box.height / height, 100 - y),
        "rotation": 0,
    }


def _region_id(identity: list[Any]) -> str:
    """A short string of the characters of Label Studio's own ids, which end at a "#"."""
    digest = hashlib.sha256(json.dumps(identity).encode()).digest()
    return base64.urlsafe_b64encode(digest).decode()[:_ID_CHARACTERS]


def _clamped(score: float) -> float:
    return 0.0 if math.isnan(score) else min(max(float(score), 0.0), 1.0)
