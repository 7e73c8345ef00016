"""What is going on in the backend, as values: for /jobs, the status page and the doctor."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rq.job import Job
from rq.serializers import JSONSerializer

from backend.deliveries import pending_deliveries
from backend.errors import QueueUnavailableError
from backend.job_history import SHOWN_ID_CHARACTERS, JobRecord, recent_failures, recent_jobs
from backend.queue import JobQueue, QueueName, unavailable_as_error
from backend.worker_board import WorkerRecord, read_workers


@dataclass(frozen=True)
class RunningJob:
    """A job that a worker has taken; `seconds` since then, by this machine's clock."""

    job: str
    queue: str
    worker: str
    seconds: float


@dataclass(frozen=True)
class Status:
    """One moment of the backend; without redis only the model version is known.

    `deliveries` counts the predictions that Label Studio still has to get.
    """

    redis: Literal["ok", "away"]
    model_version: str
    workers: Sequence[WorkerRecord] = ()
    waiting: Mapping[QueueName, int] = field(default_factory=dict)
    deliveries: int = 0
    running: Sequence[RunningJob] = ()
    failures: Sequence[JobRecord] = ()
    recent: Sequence[JobRecord] = ()


def read_status(queue: JobQueue, model_version: str) -> Status:
    """Looks into redis; says so if that does not answer.

    Args:
        queue: the queue to look at.
        model_version: what the web process names.
    """
    try:
        workers = read_workers(queue)
        return Status(
            redis="ok",
            model_version=model_version,
            workers=workers,
            waiting=queue.waiting(),
            deliveries=pending_deliveries(queue),
            running=_running_jobs(queue, {worker.id: worker.name for worker in workers}),
            failures=recent_failures(queue),
            recent=recent_jobs(queue),
        )
    except QueueUnavailableError:
        return Status(redis="away", model_version=model_version)


def _running_jobs(queue: JobQueue, worker_names: Mapping[str, str]) -> list[RunningJob]:
    holders = queue.running()
    with unavailable_as_error():
        jobs = Job.fetch_many(holders, connection=queue.redis, serializer=JSONSerializer)
    now = time.time()
    return [
        RunningJob(
            job=job.id[:SHOWN_ID_CHARACTERS],
            queue=job.origin,
            worker=worker_names.get(holders[job.id], "away"),
            # Just taken: rq has not written down yet that it began.
            seconds=max(0.0, now - job.started_at.timestamp()) if job.started_at else 0.0,
        )
        for job in jobs
        if job is not None
    ]
