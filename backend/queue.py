"""The queue between web processes and workers: rq's jobs on redis.

rq does the jobs' form, the results' streams and the workers' loop. How jobs are put in, taken and
recovered is ours (see `queue_scripts`): with rq alone a job is lost if its worker dies while taking
it, and waits for minutes if its worker dies later.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from rq import Queue
from rq.job import Job, JobStatus
from rq.results import Result
from rq.serializers import JSONSerializer

from backend import queue_scripts
from backend.errors import QueueUnavailableError
from backend.jobs import SegmentJob
from backend.redis_server import redis_url
from backend.settings import Settings

QueueName = Literal["interactive", "batch"]
# Most urgent first.
QUEUE_NAMES: tuple[QueueName, ...] = ("interactive", "batch")

# A worker's lease: long enough for a thread that renews it every second to be late, short enough
# for a request to survive its worker.
LEASE_SECONDS = 5
LEASE_RENEWAL_SECONDS = 1.0

_WAKE_KEY = "self1e:wake"
_RUNNING_KEY = "self1e:running"
_LEASE_PREFIX = "self1e:lease:"
_SERVING_KEY = "self1e:serving"

# Longest time one command blocks; a redis that vanished without a word is noticed after this and
# the socket timeout.
_BLOCK_SECONDS = 2.0
_SOCKET_TIMEOUT_SECONDS = 4.0
_CONNECT_TIMEOUT_SECONDS = 2.0

# Jobs in one round trip: results are large, and redis does nothing else meanwhile.
_AT_ONCE = 100

LOST_WORKERS = "Two workers in a row died while running this job; it is not tried a third time."


@dataclass(frozen=True)
class JobOutcome:
    """What became of a job: its result if finished, the reason if failed."""

    status: Literal["finished", "failed", "unfinished"]
    result: Mapping[str, Any] | None = None
    reason: str = ""


class JobQueue:
    """The queues as web processes and workers see them.

    All methods raise QueueUnavailableError when redis does not answer or refuses (full, read-only),
    and work again as soon as it does.
    """

    def __init__(self, redis_url: str, *, job_timeout: int, result_ttl: int) -> None:
        """Does not connect yet.

        Args:
            redis_url: redis://, rediss:// or unix:// URL.
            job_timeout: longest time one job may run, in seconds.
            result_ttl: how long results are kept for equal requests, in seconds.
        """
        self.redis = connect(redis_url)
        self.job_timeout = job_timeout
        self.result_ttl = result_ttl
        self._queues = {
            name: Queue(name, connection=self.redis, serializer=JSONSerializer)
            for name in QUEUE_NAMES
        }

    @classmethod
    def from_settings(cls, settings: Settings) -> "JobQueue":
        """The queue on the configured redis, or on the embedded one."""
        return cls(
            redis_url(settings), job_timeout=settings.job_timeout, result_ttl=settings.result_ttl
        )

    def close(self) -> None:
        """Closes the connections."""
        self.redis.close()

    def put(
        self, jobs: Sequence[SegmentJob], queue_name: QueueName, *, keep: int | None = None
    ) -> None:
        """Puts jobs into a queue.

        A job that equals a waiting, running or finished one is that job; one that waits in a less
        urgent queue moves up; one that failed is run again.

        Args:
            jobs: in the order in which they are to be run.
            queue_name: the queue.
            keep: how long to keep the results, in seconds; None for as long as all others.
        """
        for start in range(0, len(jobs), _AT_ONCE):
            with unavailable_as_error(), self.redis.pipeline(transaction=False) as pipeline:
                for job in jobs[start : start + _AT_ONCE]:
                    # Equal jobs are one job, so it does no harm when redis-py sends a put twice.
                    arguments = self._put_arguments(job, queue_name, keep or self.result_ttl)
                    pipeline.eval(queue_scripts.PUT, 5, *arguments)
                pipeline.execute()

    def wait(self, job_ids: Sequence[str], timeout: float) -> dict[str, JobOutcome]:
        """Waits until all jobs have finished or failed, at most `timeout` seconds.

        Returns:
            The outcome of each job by its id.
        """
        deadline = time.monotonic() + timeout
        outcomes = self._results(job_ids)
        # One after the other: all are needed, so it does not matter which comes first.
        for id_ in job_ids:
            while id_ not in outcomes and (left := deadline - time.monotonic()) > 0:
                outcomes |= self._results([id_], min(left, _BLOCK_SECONDS))
        outcomes |= self._results([id_ for id_ in job_ids if id_ not in outcomes])
        return {id_: outcomes.get(id_, JobOutcome("unfinished")) for id_ in job_ids}

    def take(
        self, worker_name: str, timeout: float, *, only: Sequence[QueueName] = QUEUE_NAMES
    ) -> str | None:
        """Takes the most urgent waiting job, waiting for one at most `timeout` seconds.

        Args:
            worker_name: who takes it, the holder of a lease.
            timeout: in seconds; 0 does not wait.
            only: the queues to take from, most urgent first.

        Returns:
            The job's id, or None.
        """
        lists = [self._queues[name].key for name in only]
        arguments = [_RUNNING_KEY, *lists, worker_name, Job.redis_job_namespace_prefix]
        with unavailable_as_error():
            taken = self.redis.eval(queue_scripts.TAKE, len(lists) + 1, *arguments)
            if taken is None and timeout > 0 and self.redis.blpop([_WAKE_KEY], timeout):
                taken = self.redis.eval(queue_scripts.TAKE, len(lists) + 1, *arguments)
        return None if taken is None else cast(bytes, taken).decode()

    def take_along(self, worker_name: str, job_id: str, most: int) -> list[str]:
        """Takes the batch jobs that follow one, to be prepared together with it.

        Args:
            worker_name: who has taken the job.
            job_id: the job. Nothing goes with an interactive one, nor with one that a worker died
                of: it may kill the next.
            most: how many to take.

        Returns:
            The ids of the jobs taken.
        """
        keys = [_RUNNING_KEY, self._queues[QUEUE_NAMES[-1]].key, Job.key_for(job_id)]
        arguments = [worker_name, Job.redis_job_namespace_prefix, QUEUE_NAMES[-1], str(most)]
        with unavailable_as_error():
            taken = self.redis.eval(queue_scripts.TAKE_ALONG, len(keys), *keys, *arguments)
        return [id_.decode() for id_ in cast("list[bytes]", taken)]

    def put_back(self, worker_name: str, job_ids: Sequence[str]) -> None:
        """Puts jobs that a worker has taken and not begun back, to be taken next, in order."""
        prefixes = [Job.redis_job_namespace_prefix, Queue.redis_queue_namespace_prefix]
        arguments = [worker_name, *prefixes, *reversed(job_ids)]
        with unavailable_as_error():
            self.redis.eval(queue_scripts.PUT_BACK, 2, _RUNNING_KEY, _WAKE_KEY, *arguments)

    def release(self, job_id: str) -> None:
        """Gives a taken job back after its run."""
        with unavailable_as_error():
            self.redis.eval(queue_scripts.RELEASE, 2, _RUNNING_KEY, Job.key_for(job_id), job_id)

    def renew_lease(self, worker_name: str, model_version: str) -> None:
        """Says that this worker is alive and which version it serves, for LEASE_SECONDS."""
        with unavailable_as_error(), self.redis.pipeline(transaction=False) as pipeline:
            pipeline.set(_LEASE_PREFIX + worker_name, "1", ex=LEASE_SECONDS)
            pipeline.set(_SERVING_KEY, model_version, ex=LEASE_SECONDS)
            pipeline.execute()

    def end_lease(self, worker_name: str) -> None:
        """Says that this worker has left."""
        with unavailable_as_error():
            self.redis.delete(_LEASE_PREFIX + worker_name)

    def serving(self) -> str | None:
        """The version that workers serve at this moment, None if none is ready."""
        with unavailable_as_error():
            version = cast("bytes | None", self.redis.get(_SERVING_KEY))
        return None if version is None else version.decode()

    def reap(self) -> tuple[list[str], list[str]]:
        """Puts the jobs of dead workers back, and fails those that lost a second worker.

        Returns:
            Ids of the jobs put back, and of those failed.
        """
        with unavailable_as_error():
            # Leases expire while redis is down: give living workers the time to renew theirs.
            if self.redis.info("server")["uptime_in_seconds"] < LEASE_SECONDS:
                return [], []
            put_back, failed = cast(
                "list[list[bytes]]",
                self.redis.eval(queue_scripts.REAP, 2, *self._reap_arguments()),
            )
        return [id_.decode() for id_ in put_back], [id_.decode() for id_ in failed]

    def waiting(self) -> dict[QueueName, int]:
        """How many jobs wait in each queue."""
        with unavailable_as_error(), self.redis.pipeline(transaction=False) as pipeline:
            for name in QUEUE_NAMES:
                pipeline.llen(self._queues[name].key)
            return dict(zip(QUEUE_NAMES, pipeline.execute(), strict=True))

    def running(self) -> dict[str, str]:
        """The ids of the jobs that workers have taken, and the id of each one's worker."""
        with unavailable_as_error():
            holders = cast("dict[bytes, bytes]", self.redis.hgetall(_RUNNING_KEY))
        return {job_id.decode(): worker.decode() for job_id, worker in holders.items()}

    def ping(self) -> None:
        """Raises QueueUnavailableError unless redis answers."""
        with unavailable_as_error():
            self.redis.ping()

    def _put_arguments(self, job: SegmentJob, queue_name: QueueName, keep: int) -> list[Any]:
        rq_job = Job.create(
            # Only a name: workers perform jobs themselves, whatever function a job asks for.
            "segment",
            kwargs=job.to_dict(),
            id=job.id,
            connection=self.redis,
            serializer=JSONSerializer,
            status=JobStatus.QUEUED,
            # Else rq describes a job by its arguments, a URL among them.
            description=f"segment {len(job.prompts)} prompts",
            origin=queue_name,
            timeout=self.job_timeout,
            result_ttl=keep,
            failure_ttl=self.result_ttl,
        )
        fields = [part for pair in rq_job.to_dict().items() for part in pair]
        lists = [self._queues[queue_name].key, self._queues[QUEUE_NAMES[-1]].key]
        keys = [rq_job.key, Result.get_key(job.id), *lists, _WAKE_KEY]
        return [*keys, job.id, queue_name, keep, *fields]

    def _results(self, job_ids: Sequence[str], wait: float | None = None) -> dict[str, JobOutcome]:
        """Outcomes that are there, or the first ones that come within `wait` seconds."""
        block = None if wait is None else max(1, int(wait * 1000))
        outcomes: dict[str, JobOutcome] = {}
        for start in range(0, len(job_ids), _AT_ONCE):
            some = job_ids[start : start + _AT_ONCE]
            streams = {Result.get_key(id_).encode(): id_ for id_ in some}
            with unavailable_as_error():
                replies = self.redis.xread(dict.fromkeys(streams, "0-0"), block=block)
            for stream, entries in cast("list[tuple[bytes, list[Any]]]", replies):
                outcomes[streams[stream]] = _outcome(streams[stream], entries[-1][1], self.redis)
        return outcomes

    def _reap_arguments(self) -> list[Any]:
        failure = Result(
            "", Result.Type.FAILED, self.redis, exc_string=LOST_WORKERS, serializer=JSONSerializer
        )
        entry = [part for pair in failure.serialize().items() for part in pair]
        prefixes = [
            _LEASE_PREFIX,
            Job.redis_job_namespace_prefix,
            Queue.redis_queue_namespace_prefix,
            Result.get_key(""),
        ]
        return [_RUNNING_KEY, _WAKE_KEY, *prefixes, self.result_ttl, *entry]


def connect(redis_url: str) -> redis.Redis:
    """A client that gives up on a redis that is away after about a second."""
    return redis.Redis.from_url(
        redis_url,
        socket_timeout=_SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        retry=Retry(ExponentialBackoff(cap=0.4, base=0.05), 4),
    )


def _outcome(job_id: str, payload: dict[bytes, bytes], connection: redis.Redis) -> JobOutcome:
    result = Result.restore(job_id, "0-0", payload, connection, serializer=JSONSerializer)
    if result.type == Result.Type.SUCCESSFUL:
        return JobOutcome("finished", result.return_value)
    # rq keeps a traceback: its last line is the error.
    lines = (result.exc_string or "").strip().splitlines()
    return JobOutcome("failed", reason=lines[-1] if lines else "unknown")


@contextlib.contextmanager
def unavailable_as_error() -> Iterator[None]:
    """Raises QueueUnavailableError when redis does not answer or refuses."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise QueueUnavailableError(
            "Redis does not answer: start `python -m backend serve`, which brings its own, "
            f"or check REDIS_URL ({type(error).__name__})."
        ) from error
    except redis.ResponseError as error:
        raise QueueUnavailableError(f"Redis refuses: {error}") from error
