"""The workers' side of the queue: rq's worker loop around one loaded model."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import redis
from rq import Queue
from rq.exceptions import NoSuchJobError, StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException
from rq.worker import SimpleWorker, WorkerStatus

from backend.errors import BackendError, QueueUnavailableError
from backend.job_history import (
    SHOWN_ID_CHARACTERS,
    JobRecord,
    record_job,
    record_lost_jobs,
    shown_image,
    shown_prompts,
    shown_reason,
)
from backend.jobs import SegmentJob
from backend.jobs_ahead import JobsAhead, Prepare
from backend.log import log_event
from backend.queue import LEASE_RENEWAL_SECONDS, QUEUE_NAMES, JobQueue
from backend.repeating import repeating
from backend.worker_board import WorkerRecord, publish_worker, withdraw_worker

logger = logging.getLogger(__name__)

Perform = Callable[[SegmentJob], dict[str, Any]]

# How soon an idle worker sees that it is asked to stop.
_TAKE_SECONDS = 1.0
_RECONNECT_SECONDS = 1.0
# rq derives from this how long one command may take: 10 s.
_WORKER_TTL_SECONDS = 15


def run_worker(
    queue: JobQueue,
    perform: Perform,
    model_version: str | Callable[[], str],
    stop: threading.Event,
    *,
    name: str = "worker",
    device: str = "",
    batch_size: int = 1,
    prepare: Prepare = lambda _jobs: None,
) -> None:
    """Performs jobs until `stop` is set, the running job being finished.

    When redis goes away it waits for it to come back. Must run in the main thread, since the time
    limit of a job is an alarm signal.

    Args:
        queue: a queue that nothing else uses.
        perform: runs one job.
        model_version: what `perform` serves, or what gives it if it changes.
        stop: set by a signal handler.
        name: what people call this worker.
        device: what the model runs on, for people.
        batch_size: most jobs of a batch to take at a time.
        prepare: is given the jobs that were taken together, before they are performed.
    """
    version = model_version if callable(model_version) else lambda: model_version
    while not stop.is_set():
        # After an outage this is another worker: jobs the former one had are put back.
        record = WorkerRecord.of_this_process(name, device, model_version=version())
        ahead = JobsAhead(queue, record.id, batch_size, prepare)
        try:
            with _lease(queue, record, version):
                _SegmentWorker(queue, record, perform, ahead, stop).work(logging_level=None)
        except (redis.RedisError, QueueUnavailableError) as error:
            log_event(logger, logging.WARNING, "redis is away", detail=error)
        stop.wait(_RECONNECT_SECONDS)


@contextlib.contextmanager
def _lease(queue: JobQueue, record: WorkerRecord, version: Callable[[], str]) -> Iterator[None]:
    """Keeps a worker's lease and record and reaps the dead workers' jobs, in a thread."""

    def renew() -> None:
        with contextlib.suppress(QueueUnavailableError):
            now = replace(record, model_version=version())
            queue.renew_lease(now.id, now.model_version)
            publish_worker(queue, now)
            put_back, failed = queue.reap()
            for level, event, ids in (
                (logging.WARNING, "job put back: its worker died", put_back),
                (logging.ERROR, "job failed: its second worker died", failed),
            ):
                for id_ in ids:
                    log_event(logger, level, event, job=id_[:SHOWN_ID_CHARACTERS])
            record_lost_jobs(queue, failed)

    queue.renew_lease(record.id, record.model_version)
    try:
        with repeating(renew, LEASE_RENEWAL_SECONDS, "lease"):
            yield
    finally:
        queue.end_lease(record.id)
        withdraw_worker(queue, record.id)


class _HeldJob(Job):
    """A job that the worker holding it performs, not a function that redis names."""

    perform_held: Perform
    # What is known of it, once it could be read and once it is done.
    segment_job: SegmentJob | None = None
    regions: int = 0

    def perform(self) -> dict[str, Any]:
        """Returns the job's result."""
        self.segment_job = SegmentJob.from_dict(self.kwargs)
        result = self.perform_held(self.segment_job)
        # Brush with Labels takes two results of one id for one region.
        self.regions = len({region["id"] for region in result["result"]})
        return result


class _SegmentWorker(SimpleWorker):
    """rq's loop for one process (no fork: the model stays loaded), with our way to take jobs."""

    def __init__(
        self,
        queue: JobQueue,
        record: WorkerRecord,
        perform: Perform,
        ahead: JobsAhead,
        stop: threading.Event,
    ) -> None:
        super().__init__(
            list(QUEUE_NAMES),
            name=record.id,
            connection=queue.redis,
            job_class=_HeldJob,
            serializer=JSONSerializer,
            log_job_description=False,
            worker_ttl=_WORKER_TTL_SECONDS,
        )
        self._jobs = queue
        self._record = record
        self._reason = ""
        self._perform = perform
        self._ahead = ahead
        self._stop = stop
        # Its own lines repeat ours.
        self.log.setLevel(logging.WARNING)

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Waits for the next job; None ends rq's loop."""
        self.set_state(WorkerStatus.IDLE)
        with _outage_ends_loop():
            while not self._stop.is_set():
                job_id = self._ahead.take(_TAKE_SECONDS)
                if job_id is None:
                    self.heartbeat()
                    continue
                job = _HeldJob(job_id, connection=self.connection, serializer=JSONSerializer)
                try:
                    job.refresh()
                except NoSuchJobError:
                    # Redis was emptied while it was held.
                    self._jobs.release(job_id)
                    continue
                job.perform_held = self._perform
                return job, next(queue for queue in self.queues if queue.name == job.origin)
            self._ahead.put_back()
        return None

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Performs the job; whatever it raises becomes the job's failure."""
        self._reason = ""
        began, start = time.time(), time.monotonic()
        with _outage_ends_loop():
            super().execute_job(job, queue)
            self._jobs.release(job.id)
            record_job(self._jobs, self._job_record(job, began, time.monotonic() - start))

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Logs a job's failure: expected ones without a traceback."""
        error = exc_info[1]
        expected = isinstance(error, BackendError)
        self._reason = _reason(job, error)
        log_event(
            logger,
            logging.WARNING if expected else logging.ERROR,
            "job failed",
            job=job.id[:SHOWN_ID_CHARACTERS],
            error=error.code if expected else type(error).__name__,
            detail=str(error),
            exc_info=None if expected else error,
        )

    def _job_record(self, job: Job, began: float, seconds: float) -> JobRecord:
        """What became of a job that this worker performed, for people."""
        held = job if isinstance(job, _HeldJob) else None
        known = held.segment_job if held else None
        return JobRecord(
            job=job.id[:SHOWN_ID_CHARACTERS],
            queue=job.origin,
            status="failed" if self._reason else "finished",
            prompts=shown_prompts(known) if known else (),
            image=shown_image(known.image_url) if known else "",
            task_id=known.task_id if known else None,
            regions=held.regions if held else 0,
            reason=shown_reason(self._reason),
            # The clocks of two machines: a job cannot be taken before it was put in.
            waited_ms=round(max(0.0, began - job.created_at.timestamp()) * 1000),
            ran_ms=round(seconds * 1000),
            worker=self._record.name,
            ended_at=began + seconds,
        )

    def run_maintenance_tasks(self) -> None:
        """Forgets expired jobs in rq's registries; abandoned jobs are not rq's concern."""
        with self.connection.pipeline(transaction=False) as pipeline:
            for queue in self.queues:
                for registry in (
                    queue.started_job_registry,
                    queue.finished_job_registry,
                    queue.failed_job_registry,
                ):
                    pipeline.zremrangebyscore(registry.key, 0, time.time())
            pipeline.execute()

    def subscribe(self) -> None:
        """Listens to no commands from redis."""

    def _install_signal_handlers(self) -> None:
        """Leaves signals to the process's entry point, which sets the stop event."""


def _reason(job: Job, error: BaseException | None) -> str:
    """Why a job failed, for people: only our own errors are known to hold no secrets."""
    if isinstance(error, BackendError):
        return str(error)
    if isinstance(error, JobTimeoutException):
        return f"It took longer than SELF1E_JOB_TIMEOUT, {job.timeout} s."
    return f"{type(error).__name__}: the worker's log says more under this job's id."


@contextlib.contextmanager
def _outage_ends_loop() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, QueueUnavailableError) as error:
        log_event(logger, logging.WARNING, "redis went away", detail=error)
        raise StopRequested from error
