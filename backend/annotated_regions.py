"""The regions of an annotation or a prediction, with their labels, prompts and masks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.label_config import LabelConfig
from backend.prompts import MAX_PROMPT_CHARACTERS, LabelledPrompt
from backend.region_masks import MASK_SHAPES, UnreadableRegionError, region_mask

_SHAPES = (*MASK_SHAPES, "rectangle")
_OTHER_SHAPES = ("ellipse", "keypoint", "vector")


@dataclass(frozen=True, eq=False)
class AnnotatedRegion:
    """One region.

    `prompt` is the one it was accepted from, empty if it was drawn by hand. `mask`, bool (H, W), is
    None for a rectangle and for what cannot be read.
    """

    shape: str
    prompt: str
    labels: tuple[str, ...]
    mask: NDArray[np.bool_] | None

    @property
    def label(self) -> str:
        """The first label, empty if it has none."""
        return self.labels[0] if self.labels else ""

    @property
    def has_mask_shape(self) -> bool:
        """Whether it was drawn as a mask, which a rectangle was not."""
        return self.shape in MASK_SHAPES


def results_of(annotation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The results of an annotation or a prediction."""
    results = annotation.get("result")
    if not isinstance(results, list):
        return []
    return [result for result in results if isinstance(result, Mapping)]


def annotated_regions(
    results: Sequence[Mapping[str, Any]], config: LabelConfig, leave_out: Callable[[str], None]
) -> Iterator[AnnotatedRegion]:
    """The regions on the config's image.

    Args:
        results: of one annotation.
        config: the labeling config that it was made with.
        leave_out: is told the reason for each result that is left out.
    """
    controls = {control.from_name for control in config.outputs}
    labels_names = {control.labels_name for control in config.outputs}
    known = []
    for result in results:
        kind = str(result.get("type"))
        shape = kind.removesuffix("labels")
        if shape in _OTHER_SHAPES:
            leave_out(f"{shape} region, which is no mask")
        elif kind == "labels" or shape in _SHAPES:
            if str(result.get("from_name")) in (labels_names if kind == "labels" else controls):
                known.append(result)
            else:
                leave_out("region of a control that the labeling config does not have")
    for parts in _by_id(known):
        shaped = next((part for part in parts if part["type"] != "labels"), None)
        if shaped is None:
            leave_out("label without a mask")
            continue
        shape, mask = shaped["type"].removesuffix("labels"), None
        if shape in MASK_SHAPES:
            try:
                mask = region_mask(shaped, shape)
            except UnreadableRegionError as error:
                leave_out(str(error))
        yield AnnotatedRegion(shape, _prompt(shaped), _labels(parts), mask)


def predicted_prompts(prediction: Mapping[str, Any] | None) -> Iterator[LabelledPrompt]:
    """The prompts of the regions in one of our predictions."""
    for parts in _by_id(results_of(prediction or {})):
        if prompt := _prompt(parts[0]):
            labels = _labels(parts)
            yield LabelledPrompt(prompt, labels[0] if labels else "")


def _by_id(results: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Results of one id belong to one region: the shape, and the labels that a Labels tag gave."""
    regions: dict[str, list[Mapping[str, Any]]] = {}
    for index, result in enumerate(results):
        regions.setdefault(str(result.get("id", index)), []).append(result)
    yield from regions.values()


def _prompt(result: Mapping[str, Any]) -> str:
    """The prompt that we put into the region's meta, empty if there is none."""
    meta = result.get("meta")
    prompt = meta.get("prompt") if isinstance(meta, Mapping) else None
    if not isinstance(prompt, str) or len(prompt) > MAX_PROMPT_CHARACTERS:
        return ""
    return prompt.strip()


def _labels(parts: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The labels in the results of one region."""
    labels: dict[str, None] = {}
    for part in parts:
        value = part.get("value")
        names = value.get(part.get("type")) if isinstance(value, Mapping) else None
        for name in names if isinstance(names, list) else []:
            if isinstance(name, str) and name:
                labels[name] = None
    return tuple(labels)
