"""The last jobs and how many there were: written by workers, read by the status page and metrics.

It lives in redis, within bounds, so that every web process tells the same of every worker.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, cast
from urllib.parse import urlsplit

from rq.job import Job
from rq.serializers import JSONSerializer

from backend.jobs import SegmentJob
from backend.queue import LOST_WORKERS, QUEUE_NAMES, JobQueue, QueueName, unavailable_as_error

SHOWN_ID_CHARACTERS = 12
# Upper bounds of the run times' histogram, in seconds.
RUN_SECONDS_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

_RECENT_KEY = "self1e:recent"
_FAILURES_KEY = "self1e:failures"
_TOTALS_KEY = "self1e:totals"
_RECENT_KEPT = 30
_FAILURES_KEPT = 20
_PROMPTS_KEPT = 8
_TEXT_CHARACTERS = 200
_REASON_CHARACTERS = 500


@dataclass(frozen=True)
class JobRecord:
    """What became of one job.

    `image` is the task's value without credentials and query, which may hold a signature. Times
    are in milliseconds, `ended_at` is in seconds since 1970. A job whose workers died has neither
    waited nor run, and one that could not be read has no prompts.
    """

    job: str
    queue: str
    status: Literal["finished", "failed"]
    prompts: Sequence[str] = ()
    image: str = ""
    task_id: int | str | None = None
    regions: int = 0
    reason: str = ""
    waited_ms: int = 0
    ran_ms: int = 0
    worker: str = ""
    ended_at: float = 0.0


@dataclass(frozen=True)
class JobTotals:
    """What was ever run from one queue, since redis was last emptied.

    `ran_within` counts the jobs by the first of RUN_SECONDS_BOUNDS that they stayed under, and in
    its last place those that took longer than all.
    """

    finished: int
    failed: int
    ran_seconds: float
    ran_within: tuple[int, ...]


def record_job(queue: JobQueue, record: JobRecord) -> None:
    """Writes down what became of a job.

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    text = json.dumps(asdict(record))
    seconds = record.ran_ms / 1000
    bucket = sum(seconds > bound for bound in RUN_SECONDS_BOUNDS)
    with unavailable_as_error(), queue.redis.pipeline(transaction=False) as pipeline:
        pipeline.lpush(_RECENT_KEY, text)
        pipeline.ltrim(_RECENT_KEY, 0, _RECENT_KEPT - 1)
        if record.status == "failed":
            # A list of their own: a batch of good ones must not push them out.
            pipeline.lpush(_FAILURES_KEY, text)
            pipeline.ltrim(_FAILURES_KEY, 0, _FAILURES_KEPT - 1)
        pipeline.hincrby(_TOTALS_KEY, f"{record.queue}:{record.status}", 1)
        pipeline.hincrby(_TOTALS_KEY, f"{record.queue}:within:{bucket}", 1)
        pipeline.hincrbyfloat(_TOTALS_KEY, f"{record.queue}:seconds", seconds)
        pipeline.execute()


def record_lost_jobs(queue: JobQueue, job_ids: Sequence[str]) -> None:
    """Writes down the failure of jobs that lost their second worker.

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    with unavailable_as_error():
        jobs = Job.fetch_many(job_ids, connection=queue.redis, serializer=JSONSerializer)
    for job in jobs:
        if job is not None:
            record_job(
                queue,
                JobRecord(
                    job=job.id[:SHOWN_ID_CHARACTERS],
                    queue=job.origin,
                    status="failed",
                    reason=LOST_WORKERS,
                    ended_at=time.time(),
                ),
            )


def recent_jobs(queue: JobQueue) -> list[JobRecord]:
    """The last jobs, newest first.

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    return _read(queue, _RECENT_KEY)


def recent_failures(queue: JobQueue) -> list[JobRecord]:
    """The last jobs that failed, newest first.

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    return _read(queue, _FAILURES_KEY)


def job_totals(queue: JobQueue) -> dict[QueueName, JobTotals]:
    """How many jobs were run, by queue.

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    with unavailable_as_error():
        counts = cast("dict[bytes, bytes]", queue.redis.hgetall(_TOTALS_KEY))

    def count(field: str) -> int:
        return int(counts.get(field.encode(), 0))

    return {
        name: JobTotals(
            finished=count(f"{name}:finished"),
            failed=count(f"{name}:failed"),
            ran_seconds=float(counts.get(f"{name}:seconds".encode(), 0)),
            ran_within=tuple(
                count(f"{name}:within:{bucket}") for bucket in range(len(RUN_SECONDS_BOUNDS) + 1)
            ),
        )
        for name in QUEUE_NAMES
    }


def shown_prompts(job: SegmentJob) -> list[str]:
    """The job's prompts, as many and as much of each as people need."""
    return [prompt.text[:_TEXT_CHARACTERS] for prompt in job.prompts[:_PROMPTS_KEPT]]


def shown_image(url: str) -> str:
    """An image's URL without what may be secret or long: credentials, query, inline data."""
    try:
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return ""
    if parts.scheme and not parts.netloc:
        return f"{parts.scheme}:"
    scheme = f"{parts.scheme}://" if parts.scheme else ""
    return f"{scheme}{host}{port}{parts.path}"[:_TEXT_CHARACTERS]


def shown_reason(text: str) -> str:
    """A failure's reason, as much as people need."""
    return text[:_REASON_CHARACTERS]


def _read(queue: JobQueue, key: str) -> list[JobRecord]:
    with unavailable_as_error():
        texts = cast("list[bytes]", queue.redis.lrange(key, 0, -1))
    return [JobRecord(**json.loads(text)) for text in texts]
