"""Batch jobs that a worker takes several at a time, to encode their images at once."""

import logging
from collections import deque
from collections.abc import Callable, Sequence

from rq.exceptions import DeserializationError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from backend.errors import BadRequestError
from backend.jobs import SegmentJob
from backend.queue import JobQueue, unavailable_as_error

logger = logging.getLogger(__name__)

Prepare = Callable[[Sequence[SegmentJob]], None]


class JobsAhead:
    """How a worker gets its jobs: urgent ones first, then those it has taken ahead.

    A job that a worker died of may be the one that kills the next, too: it is taken alone, so that
    it takes no others with it.

    All methods raise QueueUnavailableError when redis does not answer.
    """

    def __init__(self, queue: JobQueue, worker_name: str, size: int, prepare: Prepare) -> None:
        """Holds nothing yet.

        Args:
            queue: where jobs come from.
            worker_name: who takes them, the holder of a lease.
            size: most jobs to take at a time; 1 takes none ahead.
            prepare: is given the jobs that were taken together; in the main thread.
        """
        self._queue = queue
        self._worker_name = worker_name
        self._size = size
        self._prepare = prepare
        self._held: deque[str] = deque()

    def take(self, timeout: float) -> str | None:
        """The id of the next job to run, or None if none comes within `timeout` seconds."""
        if self._held:
            urgent = self._queue.take(self._worker_name, 0, only=["interactive"])
            return urgent or self._held.popleft()
        job_id = self._queue.take(self._worker_name, timeout)
        if job_id is not None and self._size > 1:
            ahead = self._queue.take_along(self._worker_name, job_id, self._size - 1)
            if ahead:
                self._held.extend(ahead)
                self._try_to_prepare([job_id, *ahead])
        return job_id

    def put_back(self) -> None:
        """Gives the jobs that were taken ahead and not run to others."""
        self._queue.put_back(self._worker_name, list(self._held))
        self._held.clear()

    def _try_to_prepare(self, job_ids: Sequence[str]) -> None:
        """What fails here is done job by job, and fails there alone."""
        with unavailable_as_error():
            found = Job.fetch_many(job_ids, self._queue.redis, serializer=JSONSerializer)
        jobs = [job for each in found if each is not None for job in _segment_jobs(each)]
        if len(jobs) < 2:
            return
        try:
            with UnixSignalDeathPenalty(self._queue.job_timeout, JobTimeoutException):
                self._prepare(jobs)
        except Exception:
            logger.exception("images not encoded together")


def _segment_jobs(job: Job) -> list[SegmentJob]:
    """The segment job in a job; none if it is damaged, which its own run will say."""
    try:
        return [SegmentJob.from_dict(job.kwargs)]
    except (DeserializationError, BadRequestError):
        return []
