"""The queue on a real redis, with a worker in this very process."""

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.errors import PredictionFailedError, QueueUnavailableError
from backend.jobs import SegmentJob
from backend.label_config import MaskControl
from backend.prompts import LabelledPrompt
from backend.queue import JobQueue
from backend.queue_worker import run_worker
from backend.redis_server import embedded_redis, redis_url
from backend.settings import Settings

pytestmark = pytest.mark.timeout(60)

RESULT_TTL = 100


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    data_dir = Path(tempfile.mkdtemp(prefix="self1e-"))
    with embedded_redis(data_dir):
        yield redis_url(Settings(data_dir=data_dir))
    shutil.rmtree(data_dir)


@pytest.fixture
def queue(url: str) -> Iterator[JobQueue]:
    queue = JobQueue(url, job_timeout=20, result_ttl=RESULT_TTL)
    queue.redis.flushall()
    yield queue
    queue.close()


def job(text: str) -> SegmentJob:
    control = MaskControl("mask", "image", "brushlabels")
    return SegmentJob("http://images.test/1.png", (LabelledPrompt(text, "car"),), control, "v1")


class Worker:
    """Performs a number of jobs, then stops."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._stop = threading.Event()
        self._left = 0
        self.performed: list[str] = []

    def run(self, jobs: int) -> list[str]:
        """Prompts of the jobs performed, in order."""
        self._left = jobs
        self._stop.clear()
        self.performed.clear()
        run_worker(self._queue, self._perform, "v1", self._stop)
        return self.performed

    def _perform(self, job: SegmentJob) -> dict[str, Any]:
        text = job.prompts[0].text
        self.performed.append(text)
        self._left -= 1
        if self._left == 0:
            self._stop.set()
        if text == "bad":
            raise PredictionFailedError("It is bad.")
        if text == "worse":
            raise ZeroDivisionError("divided\nby zero")
        return {"result": [{"id": text}]}


@pytest.fixture
def worker(url: str) -> Iterator[Worker]:
    queue = JobQueue(url, job_timeout=20, result_ttl=RESULT_TTL)
    yield Worker(queue)
    queue.close()


def outcomes(queue: JobQueue, *jobs: SegmentJob, timeout: float = 0.01) -> list[str]:
    return [outcome.status for outcome in queue.wait([job.id for job in jobs], timeout).values()]


def test_results_come_back_by_job(queue: JobQueue, worker: Worker) -> None:
    jobs = [job("a"), job("b")]
    queue.put(jobs, "batch")
    assert outcomes(queue, *jobs) == ["unfinished", "unfinished"]
    worker.run(2)
    results = queue.wait([each.id for each in jobs], 1)
    assert [results[each.id].result for each in jobs] == [
        {"result": [{"id": "a"}]},
        {"result": [{"id": "b"}]},
    ]


def test_jobs_are_taken_in_order_and_the_interactive_ones_first(
    queue: JobQueue, worker: Worker
) -> None:
    queue.put([job("1"), job("2"), job("both")], "batch")
    queue.put([job("now"), job("both")], "interactive")
    # What waits for an annotator is not moved back by a batch.
    queue.put([job("now")], "batch")
    assert worker.run(4) == ["now", "both", "1", "2"]


def test_an_equal_job_is_not_run_again_until_its_result_expires(
    queue: JobQueue, worker: Worker
) -> None:
    queue.put([job("a"), job("a")], "batch")
    worker.run(1)
    stream = next(key for key in queue.redis.keys("*results*"))
    queue.redis.expire(stream, 1)
    queue.put([job("a"), job("next")], "batch")
    assert queue.redis.ttl(stream) == RESULT_TTL
    assert worker.run(1) == ["next"]
    queue.redis.delete(stream)
    queue.put([job("a")], "batch")
    assert outcomes(queue, job("a")) == ["unfinished"]
    assert worker.run(1) == ["a"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bad", "backend.errors.PredictionFailedError: It is bad."),
        ("worse", "by zero"),
    ],
)
def test_a_failed_job_tells_its_reason_and_is_run_again(
    queue: JobQueue, worker: Worker, text: str, reason: str
) -> None:
    queue.put([job(text), job("good")], "batch")
    assert worker.run(2) == [text, "good"]
    results = queue.wait([job(text).id, job("good").id], 1)
    assert results[job(text).id].reason == reason
    assert results[job(text).id].result is None
    assert results[job("good").id].status == "finished"
    queue.put([job(text)], "batch")
    assert outcomes(queue, job(text)) == ["unfinished"]
    assert worker.run(1) == [text]


def test_a_damaged_job_fails_and_the_next_is_run(queue: JobQueue, worker: Worker) -> None:
    queue.put([job("damaged"), job("deleted"), job("good")], "batch")
    queue.redis.hset(f"rq:job:{job('damaged').id}", "data", b"not JSON")
    queue.redis.delete(f"rq:job:{job('deleted').id}")
    assert worker.run(1) == ["good"]
    assert outcomes(queue, job("damaged"), job("good")) == ["failed", "finished"]


def test_redis_cannot_make_a_worker_call_a_function(queue: JobQueue, worker: Worker) -> None:
    queue.put([job("a")], "batch")
    data = b'["os._exit", null, [], {}]'
    queue.redis.hset(f"rq:job:{job('a').id}", "data", data)
    queue.put([job("good")], "batch")
    assert worker.run(1) == ["good"]
    assert outcomes(queue, job("a")) == ["failed"]


def test_waiting_takes_as_long_as_it_was_told(queue: JobQueue) -> None:
    start = time.monotonic()
    assert outcomes(queue, job("never"), job("ever"), timeout=0.3) == ["unfinished"] * 2
    assert 0.3 <= time.monotonic() - start < 1


def test_nothing_to_wait_for_takes_no_time(queue: JobQueue) -> None:
    queue.put([], "batch")
    assert queue.wait([], 10) == {}


def test_hundreds_of_results_take_few_round_trips(queue: JobQueue, worker: Worker) -> None:
    many = [job(str(number)) for number in range(300)]
    before = queue.redis.info("stats")["total_commands_processed"]
    queue.put(many, "batch")
    assert queue.redis.info("stats")["total_commands_processed"] - before < 10 * len(many)
    worker.run(len(many))
    before = queue.redis.info("stats")["total_commands_processed"]
    assert set(outcomes(queue, *many, timeout=10)) == {"finished"}
    assert queue.redis.info("stats")["total_commands_processed"] - before < 10


def test_jobs_taken_along_are_batch_jobs_that_killed_nobody(queue: JobQueue) -> None:
    wait_until_leases_count(queue)
    queue.put([job("deadly")], "batch")
    assert queue.take("dead", 0) == job("deadly").id
    queue.put([job("now")], "interactive")
    queue.put([job("1"), job("2"), job("deleted"), job("3")], "batch")
    queue.redis.delete(f"rq:job:{job('deleted').id}")
    queue.renew_lease("w1", "v1")
    assert queue.take("w1", 0) == job("now").id
    assert queue.take_along("w1", job("now").id, 3) == []
    assert queue.take("w1", 0) == job("1").id
    assert queue.reap() == ([job("deadly").id], [])
    assert queue.take_along("w1", job("1").id, 3) == []
    assert queue.take("w1", 0) == job("deadly").id
    assert queue.take_along("w1", job("deadly").id, 3) == []
    assert queue.take_along("w1", job("1").id, 3) == [job("2").id, job("3").id]


def test_jobs_put_back_are_the_next_and_nobodys_fault(queue: JobQueue) -> None:
    wait_until_leases_count(queue)
    queue.put([job("1"), job("2"), job("3"), job("4")], "batch")
    first = queue.take("w1", 0)
    assert first == job("1").id
    ahead = queue.take_along("w1", first, 2)
    queue.put_back("w1", ahead)
    queue.put_back("w1", ahead)
    assert queue.waiting()["batch"] == 3
    assert queue.running() == {first: "w1"}
    second = queue.take("w2", 0)
    assert second == job("2").id
    # Another has it now.
    queue.put_back("w1", ahead)
    assert queue.take_along("w2", second, 9) == [job("3").id, job("4").id]


def test_a_living_workers_job_is_left_alone_and_a_dead_ones_put_back_once(
    queue: JobQueue,
) -> None:
    wait_until_leases_count(queue)
    queue.put([job("a")], "interactive")
    queue.renew_lease("w1", "v1")
    assert queue.take("w1", 0) == job("a").id
    assert queue.reap() == ([], [])
    queue.end_lease("w1")
    assert queue.reap() == ([job("a").id], [])
    assert queue.reap() == ([], [])
    assert queue.take("w2", 0) == job("a").id
    assert queue.take("w3", 0) is None
    assert queue.reap() == ([], [job("a").id])
    assert "Two workers" in queue.wait([job("a").id], 1)[job("a").id].reason


def test_a_job_whose_end_was_not_written_down_is_put_back(queue: JobQueue) -> None:
    wait_until_leases_count(queue)
    queue.put([job("a")], "interactive")
    queue.renew_lease("w1", "v1")
    assert queue.take("w1", 0) == job("a").id
    queue.release(job("a").id)
    assert queue.reap() == ([job("a").id], [])


def test_the_served_version_is_known_while_a_worker_lives(queue: JobQueue, worker: Worker) -> None:
    assert queue.serving() is None
    queue.put([job("a")], "batch")
    worker.run(1)
    assert queue.serving() == "v1"


def test_a_redis_that_refuses_is_as_good_as_none(queue: JobQueue) -> None:
    queue.redis.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(QueueUnavailableError, match=r"Redis refuses: .*NOREPLICAS"):
            queue.put([job("a")], "batch")
    finally:
        queue.redis.config_set("min-replicas-to-write", 0)
    queue.put([job("a")], "batch")
    assert queue.take("w1", 0) == job("a").id


def test_without_redis_calls_say_so(tmp_path: Path) -> None:
    queue = JobQueue(f"unix://{tmp_path}/none", job_timeout=1, result_ttl=1)
    calls = [
        lambda: queue.put([job("a")], "batch"),
        lambda: queue.wait(["a"], 1),
        lambda: queue.take("w1", 1),
        lambda: queue.serving(),
    ]
    for call in calls:
        with pytest.raises(QueueUnavailableError, match="REDIS_URL"):
            call()


def wait_until_leases_count(queue: JobQueue) -> None:
    """A redis that has just started knows no leases, so nobody is taken for dead at first."""
    while queue.redis.info("server")["uptime_in_seconds"] < 5:
        queue.redis.blpop(["never"], 0.1)
