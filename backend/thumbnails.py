"""Small pictures of the last answers, for the status page: made by workers, kept in redis."""

import base64
import contextlib
import json
from typing import cast

from backend.errors import QueueUnavailableError
from backend.job_history import SHOWN_ID_CHARACTERS
from backend.queue import JobQueue, unavailable_as_error

_KEY = "self1e:thumbnails"
_KEPT = 40  # more than the page shows, as jobs end in another order than they are written down


def keep_thumbnail(queue: JobQueue, job_id: str, jpeg: bytes) -> None:
    """Keeps a job's picture in place of the oldest; without redis it is lost, and nothing else."""
    entry = json.dumps([job_id[:SHOWN_ID_CHARACTERS], base64.b64encode(jpeg).decode()])
    with (
        contextlib.suppress(QueueUnavailableError),
        unavailable_as_error(),
        queue.redis.pipeline(transaction=False) as pipeline,
    ):
        pipeline.lpush(_KEY, entry)
        pipeline.ltrim(_KEY, 0, _KEPT - 1)
        pipeline.execute()


def recent_thumbnails(queue: JobQueue) -> dict[str, str]:
    """JPEG files in base64 by the first characters of their job's id; none without redis."""
    try:
        with unavailable_as_error():
            entries = cast("list[bytes]", queue.redis.lrange(_KEY, 0, -1))
    except QueueUnavailableError:
        return {}
    # The newest of a job that was run again comes last.
    return dict(json.loads(entry) for entry in reversed(entries))
