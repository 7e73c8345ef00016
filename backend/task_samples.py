"""The samples of one task, whose annotations may be by several annotators."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backend.annotations import AnnotatedMask, AnnotationReader
from backend.label_config import LabelConfig, task_value
from backend.training_samples import LeftOutTally, PackedMask, TrainingSample

AnnotatorsRule = Literal["latest", "agreement"]

ANNOTATORS_RULES: Mapping[AnnotatorsRule, str] = {
    "latest": "the ground truth, else the annotation that was saved last",
    "agreement": "the ground truth, else the pixels that more than half of the annotators with "
    "the prompt have",
}
"""Whose annotation counts where a task has several."""

_NEVER = datetime.min.replace(tzinfo=timezone.utc)


class TaskReader:
    """Turns tasks into samples, one after the other."""

    def __init__(self, config: LabelConfig, rule: AnnotatorsRule) -> None:
        self._config = config
        self._rule = rule
        self.tally = LeftOutTally()
        self.annotations = 0
        """How many annotations the samples come from."""

    def read(self, task: Mapping[str, Any]) -> list[TrainingSample]:
        """The samples of a task, as Label Studio's API or its JSON export gives it."""
        task_id = task.get("id")
        if not isinstance(task_id, int):
            self.tally.add("task without an id", None)
            return []
        image_url = task_value(task, self._config.image_key)
        if not isinstance(image_url, str) or not image_url.strip():
            self.tally.add("task without an image", task_id)
            return []
        annotations = self._usable(task, task_id)
        reader = AnnotationReader(task, task_id, self._config, self.tally)
        read = []
        for annotation in self._chosen(annotations, task_id):
            masks = reader.read(annotation, self._prediction(annotation, task, task_id))
            if masks:
                self.annotations += 1
                read.append(masks)
            else:
                self.tally.add("annotation that teaches nothing", task_id)
        masks = read[0] if len(read) == 1 else self._agreed(read, task_id)
        return [
            TrainingSample(
                task_id,
                image_url.strip(),
                each.prompt,
                each.label,
                each.kind,
                None if each.mask is None else PackedMask.pack(each.mask),
            )
            for each in masks
        ]

    def _usable(self, task: Mapping[str, Any], task_id: int) -> list[Mapping[str, Any]]:
        """The annotations that were submitted, the latest first."""
        annotations = task.get("annotations")
        usable = []
        for annotation in annotations if isinstance(annotations, list) else []:
            if not isinstance(annotation, Mapping) or not isinstance(
                annotation.get("result"), list
            ):
                self.tally.add("annotation without a result", task_id)
            elif annotation.get("was_cancelled"):
                self.tally.add("cancelled annotation", task_id)
            else:
                usable.append(annotation)
        return sorted(usable, key=_saved_at, reverse=True)

    def _chosen(
        self, annotations: Sequence[Mapping[str, Any]], task_id: int
    ) -> list[Mapping[str, Any]]:
        truths = [annotation for annotation in annotations if annotation.get("ground_truth")]
        if truths or self._rule == "latest":
            chosen = [*truths, *annotations][:1]
        else:
            latest: dict[object, Mapping[str, Any]] = {}
            for annotation in annotations:
                latest.setdefault(_annotator(annotation), annotation)
            chosen = list(latest.values())
        for _ in range(len(annotations) - len(chosen)):
            self.tally.add("annotation that another one of its task replaces", task_id)
        return chosen

    def _prediction(
        self, annotation: Mapping[str, Any], task: Mapping[str, Any], task_id: int
    ) -> Mapping[str, Any] | None:
        """The prediction that the annotation started from; exports keep a copy beside it."""
        prediction_id = annotation.get("parent_prediction")
        if prediction_id is None:
            return None
        predictions = task.get("predictions")
        for each in [annotation.get("prediction"), *(predictions or [])]:
            if isinstance(each, Mapping) and each.get("id") == prediction_id:
                return each
        self.tally.add("prediction that is not kept, and with it what was deleted of it", task_id)
        return None

    def _agreed(self, read: Sequence[Sequence[AnnotatedMask]], task_id: int) -> list[AnnotatedMask]:
        """One mask per prompt, of the pixels that more than half of those with the prompt have."""
        by_prompt: dict[str, list[AnnotatedMask]] = {}
        for masks in read:
            for each in masks:
                by_prompt.setdefault(each.identity, []).append(each)
        agreed = []
        for answers in by_prompt.values():
            drawn = [answer.mask for answer in answers if answer.mask is not None]
            if not drawn:
                agreed.append(answers[0])
                continue
            if len({mask.shape for mask in drawn}) > 1:
                self.tally.add("regions of one prompt on images of different sizes", task_id)
                continue
            votes: NDArray[np.int32] = np.sum(drawn, axis=0, dtype=np.int32)
            mask = 2 * votes > len(answers)
            if not mask.any():
                self.tally.add("prompt on which the annotators do not agree", task_id)
                continue
            first = next(answer for answer in answers if answer.mask is not None)
            agreed.append(AnnotatedMask(first.prompt, first.label, first.kind, mask))
        return agreed


def _saved_at(annotation: Mapping[str, Any]) -> tuple[datetime, int]:
    """When the annotation was last saved; the id decides between equal times."""
    number = annotation.get("id")
    text = annotation.get("updated_at") or annotation.get("created_at")
    try:
        saved = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        saved = _NEVER
    if saved.tzinfo is None:
        saved = saved.replace(tzinfo=timezone.utc)
    return saved, number if isinstance(number, int) else 0


def _annotator(annotation: Mapping[str, Any]) -> str:
    """The id of who made it; some exports give all about that user."""
    user = annotation.get("completed_by")
    return str(user.get("id") if isinstance(user, Mapping) else user)
