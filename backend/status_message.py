"""Tells the annotator what became of a prompt, in a TextArea of the labeling config named "status".

Label Studio shows an annotator no errors of a backend. A textarea result in the answer to a prompt
is the one thing besides regions that reaches them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import ImageError
from backend.jobs import SegmentJob
from backend.prompts import LabelledPrompt
from backend.queue import LOST_WORKERS, JobOutcome

MAX_MESSAGE_CHARACTERS = 300

STILL_WORKING = "still working: ask again in a moment"
FAILED = "the prediction failed: the backend's log says why"

_OUR_ERRORS = "backend.errors."
_IMAGE_ERROR = f"{_OUR_ERRORS}{ImageError.__name__}"


def failure_message(reason: str) -> str:
    """A failed job's reason for the annotator.

    Args:
        reason: the last line of a traceback. Only our own errors are known to hold no secrets; of
            all others it is only said that there was one.
    """
    kind, _, message = reason.partition(": ")
    if reason == LOST_WORKERS:
        return reason
    if not kind.startswith(_OUR_ERRORS) or not message:
        return FAILED
    return f"image could not be read: {message}" if kind == _IMAGE_ERROR else message


def found_message(prompts: Sequence[LabelledPrompt], regions: Sequence[Mapping[str, Any]]) -> str:
    """How many regions there are, and for which prompts none: "1 region; nothing found for "x"".

    Args:
        prompts: what was asked.
        regions: the results of the answer, `meta.prompt` saying what each was found for.
    """
    # Brush with Labels takes two results of one id for one region.
    count = len({region["id"] for region in regions})
    found = {region["meta"]["prompt"] for region in regions}
    missing = list(dict.fromkeys(each.text for each in prompts if each.text not in found))
    parts = [f"{count} region" + "s" * (count != 1)] if count else []
    if missing:
        parts.append("nothing found for " + ", ".join(f'"{text}"' for text in missing))
    return "; ".join(parts)


@dataclass(frozen=True)
class StatusArea:
    """The TextArea: its name, the name of its image, and the version that the answers are of."""

    name: str
    to_name: str
    model_version: str

    def told(self, job: SegmentJob, outcome: JobOutcome) -> dict[str, Any]:
        """The prediction of a job with a message on it, or the message alone without one."""
        if outcome.result is None:
            failed = outcome.status == "failed"
            return self.alone(failure_message(outcome.reason) if failed else STILL_WORKING)
        regions = outcome.result["result"]
        message = self._result(found_message(job.prompts, regions))
        return {**outcome.result, "result": [*regions, message]}

    def alone(self, message: str) -> dict[str, Any]:
        """A prediction without regions."""
        return {"result": [self._result(message)], "model_version": self.model_version}

    def _result(self, message: str) -> dict[str, Any]:
        """Of the same id always, so that the newest message takes the place of the one before."""
        if len(message) > MAX_MESSAGE_CHARACTERS:
            message = message[: MAX_MESSAGE_CHARACTERS - 1] + "\u2026"
        return {
            "id": "self1e-status",
            "from_name": self.name,
            "to_name": self.to_name,
            "type": "textarea",
            "origin": "prediction",
            "value": {"text": [message]},
        }
