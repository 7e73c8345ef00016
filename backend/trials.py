"""Trying the model on the status page: an uploaded image, a prompt, and a picture of the mask.

The image waits in redis for its worker, for some minutes and for nobody else. It is an ordinary
interactive job otherwise, so that what works here works in Label Studio. The picture comes with
the job's result and is forgotten with it.
"""

from typing import cast
from uuid import uuid4

from rq.job import Job

from backend.errors import ImageError
from backend.jobs import SegmentJob
from backend.label_config import MaskControl
from backend.prompts import LabelledPrompt
from backend.queue import JobOutcome, JobQueue, unavailable_as_error

_UPLOAD_SCHEME = "upload:"
_UPLOAD_PREFIX = "self1e:upload:"
_UPLOAD_SECONDS = 600
_CONTROL = MaskControl("mask", "image", "brushlabels")


def put_trial(queue: JobQueue, image: bytes, prompt: str, *, model_version: str) -> str:
    """Has an image segmented.

    Args:
        queue: whose redis keeps the image.
        image: an image file.
        prompt: what to mark.
        model_version: the version that has to answer.

    Returns:
        The job's id, which nobody can guess.

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    name = uuid4().hex
    with unavailable_as_error():
        queue.redis.set(_UPLOAD_PREFIX + name, image, ex=_UPLOAD_SECONDS)
    job = SegmentJob(
        image_url=_UPLOAD_SCHEME + name,
        prompts=(LabelledPrompt(prompt, ""),),
        control=_CONTROL,
        model_version=model_version,
    )
    queue.put([job], "interactive")
    return job.id


def find_trial(queue: JobQueue, job_id: str, timeout: float) -> JobOutcome | None:
    """What became of a trial, waiting for its end at most `timeout` seconds.

    Returns:
        The outcome, or None if there is no such trial (any more).

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    outcome = queue.wait([job_id], timeout)[job_id]
    if outcome.result is not None:
        return outcome if "overlay" in outcome.result else None
    with unavailable_as_error():
        return outcome if Job.exists(job_id, queue.redis) else None


def uploaded_image(queue: JobQueue, url: str) -> bytes | None:
    """The uploaded image of a trial's job; None for any other image's URL.

    Raises:
        ImageError: it has expired.
        QueueUnavailableError: redis does not answer.
    """
    if not url.startswith(_UPLOAD_SCHEME):
        return None
    with unavailable_as_error():
        key = _UPLOAD_PREFIX + url.removeprefix(_UPLOAD_SCHEME)
        image = cast("bytes | None", queue.redis.get(key))
    if image is None:
        raise ImageError(
            "The uploaded image has expired before a worker was free: upload it again."
        )
    return image
