"""Annotations as Label Studio's editor saves them, for tests of what is learned from them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.bitmask import encode_bitmask
from backend.brush_rle import encode_mask

HEIGHT, WIDTH = 30, 40

CONFIG = """<View>
  <Image name="image" value="$image"/>
  <TextArea name="prompt" toName="image" value="$prompt"/>
  <TextArea name="status" toName="image"/>
  <BrushLabels name="mask" toName="image">
    <Label value="Cat"/>
    <Label value="traffic_light" alias="tl"/>
    <Label value="Red car" prompt="the car that is red"/>
  </BrushLabels>
  <PolygonLabels name="polygon" toName="image"><Label value="Cat"/></PolygonLabels>
  <BitmaskLabels name="bitmask" toName="image"><Label value="Cat"/></BitmaskLabels>
  <RectangleLabels name="box" toName="image">
    <Label value="Cat"/><Label value="Dog"/>
  </RectangleLabels>
</View>"""


def square(top: int, left: int, size: int = 8) -> NDArray[np.bool_]:
    """A mask of the images' size with one square."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    mask[top : top + size, left : left + size] = True
    return mask


def region(
    kind: str,
    value: dict[str, Any],
    *labels: str,
    prompt: str = "",
    from_name: str = "",
    **changes: Any,
) -> dict[str, Any]:
    """A result of the kind; with a prompt it was accepted from a prediction."""
    names = {
        "brushlabels": "mask",
        "polygonlabels": "polygon",
        "bitmasklabels": "bitmask",
        "rectanglelabels": "box",
    }
    result: dict[str, Any] = {
        "id": f"{kind}{np.random.default_rng().integers(1 << 40)}",
        "from_name": from_name or names[kind],
        "to_name": "image",
        "type": kind,
        "origin": "prediction" if prompt else "manual",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": value | ({kind: list(labels)} if labels else {}),
    }
    if prompt:
        result["meta"] = {"prompt": prompt, "model_version": "demo-00000000"}
    return result | changes


def brush(
    mask: NDArray[np.bool_], *labels: str, prompt: str = "", **changes: Any
) -> dict[str, Any]:
    value = {"format": "rle", "rle": encode_mask(mask)}
    return region("brushlabels", value, *labels, prompt=prompt, **changes)


def bitmask(mask: NDArray[np.bool_], *labels: str, **changes: Any) -> dict[str, Any]:
    return region("bitmasklabels", {"imageDataURL": encode_bitmask(mask)}, *labels, **changes)


def polygon(points: list[list[float]], *labels: str, **changes: Any) -> dict[str, Any]:
    return region("polygonlabels", {"points": points, "closed": True}, *labels, **changes)


def rectangle(*labels: str, prompt: str = "") -> dict[str, Any]:
    value = {"x": 0, "y": 0, "width": 50, "height": 50, "rotation": 0}
    return region("rectanglelabels", value, *labels, prompt=prompt)


def typed(*texts: str, from_name: str = "prompt") -> dict[str, Any]:
    """What a TextArea holds, the newest entry last."""
    return {
        "id": f"text-{from_name}",
        "from_name": from_name,
        "to_name": "image",
        "type": "textarea",
        "origin": "manual",
        "value": {"text": list(texts)},
    }


def annotation(*results: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "completed_by": 1,
        "result": list(results),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-11-22T10:54:52.108275Z",
        "updated_at": "2026-11-22T10:54:52.108275Z",
        "parent_prediction": None,
    } | changes


def task(*annotations: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": 5,
        "data": {"image": "/data/upload/1/a.png"},
        "annotations": list(annotations),
        "predictions": [],
    } | changes
