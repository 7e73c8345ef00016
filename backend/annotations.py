"""What one annotation teaches: its regions, the prompts they answer, and the prompts left empty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.annotated_regions import (
    AnnotatedRegion,
    annotated_regions,
    predicted_prompts,
    results_of,
)
from backend.errors import BadRequestError
from backend.label_config import Label, LabelConfig, task_value
from backend.prompts import LabelledPrompt, label_prompt, split_prompts, spoken_label, typed_texts
from backend.training_samples import LeftOutTally, SampleKind


@dataclass(frozen=True)
class AnnotatedMask:
    """A prompt, and the mask an annotator left for it; None for nothing (a negative)."""

    prompt: str
    label: str
    kind: SampleKind
    mask: NDArray[np.bool_] | None

    @property
    def identity(self) -> str:
        """What tells one prompt from another: the text without case."""
        return self.prompt.casefold()


@dataclass
class _Group:
    """The regions that answer one prompt."""

    prompt: str
    label: str
    regions: list[AnnotatedRegion] = field(default_factory=list)

    @property
    def kind(self) -> SampleKind:
        own = self.prompt.casefold()
        is_accepted = any(region.prompt.casefold() == own for region in self.regions)
        return "accepted" if is_accepted else "drawn"


class AnnotationReader:
    """Reads the annotations of one task, and counts what cannot be learned from."""

    def __init__(
        self, task: Mapping[str, Any], task_id: int, config: LabelConfig, tally: LeftOutTally
    ) -> None:
        self._config = config.for_task(task)
        self._prefilled = set(typed_texts(task_value(task, config.prompt_key)))
        self._task_id = task_id
        self._tally = tally

    def read(
        self, annotation: Mapping[str, Any], prediction: Mapping[str, Any] | None
    ) -> list[AnnotatedMask]:
        """What one annotation teaches, each prompt once.

        - A region that was accepted from a prompt, edited or not, carries that prompt in its
          `meta`. All regions of one prompt are one mask.
        - A region drawn by hand answers the one prompt of the prompt's TextArea that no accepted
          region answers and that has its label, or that is alone and has no label, if all that was
          drawn has one label. Without such a prompt it is asked for as a batch would: by its
          label's `prompt` attribute, or the label in words. That means all regions of the label,
          so the mask has those, too.
        - A prompt that was asked, in the TextArea or by the prediction that the annotation started
          from, and of which the annotator left nothing, has an empty mask. But where a region has
          the prompt's label, or where a prompt has no label and there are regions at all, nothing
          is known: the annotator may have asked again in other words, or drawn it.

        Args:
            annotation: as Label Studio saved it, with its results.
            prediction: the prediction that the annotation started from, None for none.
        """
        results = results_of(annotation)
        regions = list(annotated_regions(results, self._config, self._leave_out))
        asked = self._asked(results)
        groups = self._groups(regions, asked)
        masks = [mask for group in groups.values() if (mask := self._union(group)) is not None]
        answered = {region.prompt.casefold() for region in regions} | groups.keys()
        negatives = {
            prompt.text.casefold(): AnnotatedMask(prompt.text, prompt.label, "negative", None)
            for prompt in (*asked, *predicted_prompts(prediction))
            if prompt.text.casefold() not in answered and _is_left_empty(prompt, regions)
        }
        self._count_rectangles(regions)
        return [*masks, *negatives.values()]

    def _leave_out(self, reason: str) -> None:
        self._tally.add(reason, self._task_id)

    def _asked(self, results: Sequence[Mapping[str, Any]]) -> list[LabelledPrompt]:
        """What the annotator typed into the prompt's TextArea, oldest first."""
        asked: dict[str, LabelledPrompt] = {}
        for result in results:
            name = self._config.prompt_name
            if result.get("type") != "textarea" or result.get("from_name") != name:
                continue
            value = result.get("value")
            for entry in typed_texts(value.get("text") if isinstance(value, Mapping) else None):
                if entry in self._prefilled:
                    continue  # the task's own text; nobody need have asked for it
                try:
                    texts = split_prompts(entry)
                except BadRequestError:
                    self._leave_out("prompt that is too long")
                    continue
                for text in texts:
                    prompt = label_prompt(text, self._config)
                    asked.setdefault(prompt.text.casefold(), prompt)
        return list(asked.values())

    def _groups(
        self, regions: Sequence[AnnotatedRegion], asked: Sequence[LabelledPrompt]
    ) -> dict[str, _Group]:
        """The regions with a mask, by the prompt they answer, in lower case."""
        groups: dict[str, _Group] = {}

        def add(region: AnnotatedRegion, prompt: str, label: str) -> None:
            group = groups.setdefault(prompt.casefold(), _Group(prompt, label))
            if region not in group.regions:
                group.regions.append(region)

        shaped = [region for region in regions if region.has_mask_shape]
        for region in shaped:
            if region.prompt and self._is_relabelled(region):
                self._leave_out("label that is not the one its prompt names")
            elif region.prompt:
                add(region, region.prompt, region.label)
        answered = {region.prompt.casefold() for region in regions}
        unanswered = [prompt for prompt in asked if prompt.text.casefold() not in answered]
        drawn = [region for region in shaped if not region.prompt]
        for region in drawn:
            typed = _typed_prompt(region, drawn, unanswered)
            if typed is not None:
                add(region, typed.text, region.label)
                continue
            if not region.labels:
                self._leave_out("region without a prompt and without a label")
            for name in region.labels:
                for other in shaped:
                    if name in other.labels:
                        add(other, self._spoken(name), name)
        return groups

    def _is_relabelled(self, region: AnnotatedRegion) -> bool:
        """Whether the prompt names another label: one of the two is wrong, and who knows which."""
        if region.prompt.casefold() in {self._spoken(name).casefold() for name in region.labels}:
            return False
        named = label_prompt(region.prompt, self._config).label
        return bool(named and region.labels) and named not in region.labels

    def _spoken(self, name: str) -> str:
        """What a batch asks for this label."""
        labels = (label for control in self._config.outputs for label in control.labels)
        label = next((label for label in labels if label.name == name), Label(name, name))
        return label.prompt or spoken_label(label.value)

    def _union(self, group: _Group) -> AnnotatedMask | None:
        """The prompt's mask, or None if it has none that is whole."""
        masks = [region.mask for region in group.regions if region.mask is not None]
        if len(masks) < len(group.regions):
            if masks:
                self._leave_out("mask of which another region cannot be read")
            return None
        if len({mask.shape for mask in masks}) > 1:
            self._leave_out("regions of one prompt on images of different sizes")
            return None
        union = np.logical_or.reduce(masks)
        if not union.any():
            self._leave_out("empty mask")
            return None
        return AnnotatedMask(group.prompt, group.label, group.kind, union)

    def _count_rectangles(self, regions: Sequence[AnnotatedRegion]) -> None:
        masks = [region for region in regions if region.has_mask_shape]
        for region in regions:
            if not region.has_mask_shape and not any(_belong(region, mask) for mask in masks):
                self._leave_out("rectangle without a mask of its prompt or label")


def _typed_prompt(
    region: AnnotatedRegion,
    drawn: Sequence[AnnotatedRegion],
    unanswered: Sequence[LabelledPrompt],
) -> LabelledPrompt | None:
    """The typed prompt that one of the drawn regions answers, None if that is not certain."""
    of_label = [prompt for prompt in unanswered if prompt.label in region.labels]
    if len(of_label) == 1:
        return of_label[0]
    if (
        len(unanswered) == 1
        and not unanswered[0].label
        and len({each.labels for each in drawn}) == 1
    ):
        return unanswered[0]
    return None


def _is_left_empty(prompt: LabelledPrompt, regions: Sequence[AnnotatedRegion]) -> bool:
    """Whether it is sure that the annotator left nothing of what was asked."""
    if prompt.label:
        return not any(prompt.label in region.labels for region in regions)
    return not regions


def _belong(rectangle: AnnotatedRegion, mask: AnnotatedRegion) -> bool:
    same_prompt = bool(rectangle.prompt) and rectangle.prompt.casefold() == mask.prompt.casefold()
    return same_prompt or not set(rectangle.labels).isdisjoint(mask.labels)
