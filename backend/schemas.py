"""What Label Studio sends and gets: strict on what we use, tolerant of all else."""

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

MAX_TASKS = 10_000

_ANNOTATION_SAVED = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED")

_PROJECT = re.compile(r"[0-9]{1,18}\.[0-9]{1,18}")


class Request(BaseModel):
    """A request: unknown fields are dropped, since Label Studio adds some with each release."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class SetupRequest(Request):
    """POST /setup, before every prediction. The access token it also carries is never read."""

    label_config: str = Field(alias="schema")


class Task(Request):
    """One task. The annotations and predictions it also carries, many MB, are dropped here."""

    id: int | str | None = None
    data: dict[str, Any]


class PredictParams(Request):
    """`context` is None in a batch, else the annotator's results on the image."""

    context: dict[str, Any] | None = None


class PredictRequest(Request):
    """POST /predict."""

    tasks: list[Task] = Field(max_length=MAX_TASKS)
    label_config: str
    params: PredictParams = PredictParams()
    project: Any = None

    @property
    def project_key(self) -> str:
        """The project's id and when it was created, "4.1795344895"; empty if it is not named so.

        No two projects share it, not even of two Label Studios.
        """
        is_key = isinstance(self.project, str) and _PROJECT.fullmatch(self.project)
        return self.project if is_key else ""


class WebhookProject(Request):
    """The project of an event."""

    id: int


class WebhookAnnotation(Request):
    """An annotation of an event; of a deleted one only the id is left."""

    id: int
    was_cancelled: bool = False
    result: list[Any] | None = None


class WebhookRequest(Request):
    """POST /webhook: an event of the project, or START_TRAINING from the model's menu."""

    action: str
    project: WebhookProject | None = None
    annotation: WebhookAnnotation | list[WebhookAnnotation] | None = None
    annotations: list[WebhookAnnotation] = []

    @property
    def accepted_annotations(self) -> list[int]:
        """Ids of the annotations that were saved with something in them."""
        return [each.id for each in self._saved if each.result and not each.was_cancelled]

    @property
    def withdrawn_annotations(self) -> list[int]:
        """Ids of the annotations that were deleted, cancelled or emptied."""
        if self.action == "ANNOTATIONS_DELETED":
            return [each.id for each in self.annotations]
        return [each.id for each in self._saved if not each.result or each.was_cancelled]

    @property
    def _saved(self) -> list[WebhookAnnotation]:
        if self.action not in _ANNOTATION_SAVED or self.annotation is None:
            return []
        return self.annotation if isinstance(self.annotation, list) else [self.annotation]


class SetupReply(BaseModel):
    """The reply to /setup."""

    model_version: str


class VersionsReply(BaseModel):
    """The reply to /versions."""

    versions: list[str]
