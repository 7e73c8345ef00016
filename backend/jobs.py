"""The work one task is: what a worker needs to know, as a value that travels through the queue."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from backend.errors import BadRequestError
from backend.label_config import LabelConfig, MaskControl, task_value
from backend.parameters import MaskParameters
from backend.prompts import LabelledPrompt, prompts_for_task


@dataclass(frozen=True)
class SegmentJob:
    """Segment one task's image once per prompt.

    `image_url` is the task's own value, not yet resolved; `task_id` is what Label Studio needs to
    resolve it when it lies in a storage (None for a task that was never saved).
    """

    image_url: str
    prompts: tuple[LabelledPrompt, ...]
    control: MaskControl
    model_version: str
    task_id: int | str | None = None
    parameters: MaskParameters = field(default_factory=MaskParameters)

    @property
    def id(self) -> str:
        """Digest (64 hex digits) of all that determines the result: equal requests are one job."""
        identity = [
            self.image_url,
            [[prompt.text, prompt.label] for prompt in self.prompts],
            [self.control.kind, self.control.from_name, self.control.to_name],
            self.control.labels_name,
            self.model_version,
            [self.parameters.threshold, self.parameters.mode],
        ]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The job as a dict of plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "SegmentJob":
        """The job that `to_dict` wrote.

        Raises:
            BadRequestError: a field is missing or is of another type.
        """
        try:
            return TypeAdapter(cls).validate_python(data)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise BadRequestError(f"This is no segment job: {where}: {first['msg']}.") from None


def job_for_task(
    task: Mapping[str, Any],
    context: Mapping[str, Any] | None,
    config: LabelConfig,
    model_version: str,
    *,
    last_prompts: str = "",
    separate_in_batch: bool = False,
) -> SegmentJob | None:
    """The job a /predict request asks for this task, or None when it asks for nothing.

    Args:
        task: the task as Label Studio sends it.
        context: the annotator's results on this image (interactive), or None (batch).
        config: the project's labeling config.
        model_version: the version that has to answer.
        last_prompts: what the project's annotators entered last, for a batch that brings no
            prompts of its own.
        separate_in_batch: whether each piece of a mask becomes a region of its own in a batch; a
            config that has a control for that decides itself.

    Raises:
        BadRequestError: the task has no image, the context is not what Label Studio sends, there
            are too many prompts, or a parameter is out of range.
    """
    config = config.for_task(task)
    prompts = prompts_for_task(task, context, config, last_prompts=last_prompts)
    if not prompts:
        return None
    image_url = task_value(task, config.image_key)
    if not isinstance(image_url, str) or not image_url.strip():
        raise BadRequestError(
            f'Task {task.get("id")} has no image url under "{config.image_key}" in its data.'
        )
    task_id = task.get("id")
    parameters = config.parameters.read(context)
    if context is None and config.parameters.mode is None:
        parameters = replace(parameters, mode="each" if separate_in_batch else "everything")
    return SegmentJob(
        image_url=image_url,
        prompts=tuple(prompts),
        # The prompts carry their labels: the config's other labels are not the worker's concern.
        control=replace(config.control, labels=(), labels_key=None),
        model_version=model_version,
        task_id=task_id if isinstance(task_id, int | str) else None,
        parameters=parameters,
    )
