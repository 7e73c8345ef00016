"""Who is responsible for a prediction, on a real redis."""

import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from rq.job import Job
from rq.results import Result

from backend.deliveries import (
    KEEP_SECONDS,
    BatchDeliveries,
    ClaimedDelivery,
    Delivery,
    claim_delivery,
    delivered,
    give_up,
    pending_deliveries,
    postpone,
)
from backend.errors import PredictionFailedError, QueueUnavailableError
from backend.jobs import SegmentJob
from backend.label_config import MaskControl
from backend.prompts import LabelledPrompt
from backend.queue import JobQueue
from backend.queue_worker import run_worker
from backend.redis_server import embedded_redis, redis_url
from backend.settings import Settings

pytestmark = pytest.mark.timeout(120)

RESULT_TTL = 100
JOB = SegmentJob(
    "http://images.test/1.png",
    (LabelledPrompt("the car", "car"),),
    MaskControl("mask", "image", "brushlabels"),
    "v1",
)
_NOTHING: Mapping[str, Any] = MappingProxyType({"result": []})
DELIVERY = Delivery(7, "4.1795344895", "v1", JOB.id)


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


def perform(queue: JobQueue, *, fails: bool = False, result: Mapping[str, Any] = _NOTHING) -> None:
    """Runs the one waiting job."""
    stop = threading.Event()

    def run(_job: SegmentJob) -> dict[str, Any]:
        stop.set()
        if fails:
            raise PredictionFailedError("It is bad.")
        return dict(result)

    run_worker(queue, run, "v1", stop)


def asked(queue: JobQueue) -> BatchDeliveries:
    """A request for the task, whose job has been put into the queue."""
    request = BatchDeliveries(queue)
    assert request.hold([DELIVERY], 40) == {DELIVERY}
    queue.put([JOB], "batch", keep=KEEP_SECONDS)
    return request


def let_it_be_due(queue: JobQueue) -> None:
    assert queue.redis.zadd("self1e:deliveries", {DELIVERY.id: 0}, xx=True, ch=True) == 1


def claim(queue: JobQueue) -> ClaimedDelivery:
    claimed = claim_delivery(queue)
    assert claimed is not None
    assert claimed.delivery == DELIVERY
    return claimed


def test_what_is_in_an_answer_is_not_delivered(queue: JobQueue) -> None:
    request = asked(queue)
    perform(queue)
    assert request.hand_over({DELIVERY: "finished"}) == {DELIVERY}
    request.confirm()
    assert pending_deliveries(queue) == 0
    assert claim_delivery(queue) is None


def test_what_is_not_in_an_answer_is_delivered_once(queue: JobQueue) -> None:
    request = asked(queue)
    assert claim_delivery(queue) is None
    assert request.hand_over({DELIVERY: "unfinished"}) == {DELIVERY}
    assert claim_delivery(queue) is None
    assert pending_deliveries(queue) == 1
    perform(queue)
    let_it_be_due(queue)
    claimed = claim(queue)
    assert (claimed.outcome, claimed.tries) == ("finished", 0)
    assert claim_delivery(queue) is None
    delivered(queue, claimed)
    assert pending_deliveries(queue) == 0


def test_results_are_kept_until_they_are_delivered(queue: JobQueue) -> None:
    stream, hash_ = Result.get_key(JOB.id), Job.key_for(JOB.id)
    queue.put([JOB], "batch")
    request = asked(queue)
    perform(queue)
    assert queue.redis.ttl(stream) > RESULT_TTL
    request.hand_over({DELIVERY: "unfinished"})
    queue.redis.expire(stream, 10)
    queue.put([JOB], "interactive")
    assert queue.redis.ttl(stream) == RESULT_TTL
    claimed = claim(queue)
    assert queue.redis.ttl(stream) == queue.redis.ttl(hash_) == KEEP_SECONDS
    queue.put([JOB], "interactive")
    assert queue.redis.ttl(stream) == KEEP_SECONDS
    delivered(queue, claimed)
    assert queue.redis.ttl(stream) == queue.redis.ttl(hash_) == RESULT_TTL


def test_of_two_requests_at_the_same_time_one_answers(queue: JobQueue) -> None:
    first, second = asked(queue), BatchDeliveries(queue)
    assert second.hold([DELIVERY], 40) == set()
    perform(queue)
    assert second.hand_over({DELIVERY: "finished"}) == set()
    assert first.hand_over({DELIVERY: "finished"}) == {DELIVERY}
    # Label Studio may not have stored the answer when it asks again.
    assert BatchDeliveries(queue).hold([DELIVERY], 40) == set()


def test_a_request_after_an_answer_is_left_to_a_worker_who_looks_first(queue: JobQueue) -> None:
    request = asked(queue)
    perform(queue)
    request.hand_over({DELIVERY: "finished"})
    request.confirm()
    for _ in range(2):
        assert BatchDeliveries(queue).hold([DELIVERY], 40) == set()
        assert claim_delivery(queue) is None
    let_it_be_due(queue)
    assert claim(queue).outcome == "finished"


def test_a_request_takes_over_what_waits_for_its_job(queue: JobQueue) -> None:
    first, second = asked(queue), BatchDeliveries(queue)
    first.hand_over({DELIVERY: "unfinished"})
    assert second.hold([DELIVERY], 40) == {DELIVERY}
    perform(queue)
    assert claim_delivery(queue) is None
    assert second.hand_over({DELIVERY: "finished"}) == {DELIVERY}


def test_a_dead_requests_task_is_delivered_and_a_late_answer_goes_without_it(
    queue: JobQueue,
) -> None:
    request = asked(queue)
    perform(queue)
    let_it_be_due(queue)
    claimed = claim(queue)
    assert request.hand_over({DELIVERY: "finished"}) == set()
    assert BatchDeliveries(queue).hold([DELIVERY], 40) == set()
    delivered(queue, claimed)


def test_an_answer_that_was_perhaps_not_sent_is_looked_after(queue: JobQueue) -> None:
    request = asked(queue)
    perform(queue)
    request.hand_over({DELIVERY: "finished"})
    assert claim_delivery(queue) is None
    let_it_be_due(queue)
    assert claim(queue).outcome == "finished"


def test_a_failed_job_is_not_delivered(queue: JobQueue) -> None:
    request = asked(queue)
    perform(queue, fails=True)
    assert request.hand_over({DELIVERY: "failed"}) == {DELIVERY}
    assert pending_deliveries(queue) == 0
    request = asked(queue)
    request.hand_over({DELIVERY: "unfinished"})
    perform(queue, fails=True)
    assert claim(queue).outcome == "lost"
    assert pending_deliveries(queue) == 0


def test_a_worker_that_died_while_posting_is_replaced(queue: JobQueue) -> None:
    request = asked(queue)
    perform(queue)
    request.hand_over({DELIVERY: "unfinished"})
    dead = claim(queue)
    let_it_be_due(queue)
    living = claim(queue)
    delivered(queue, dead)
    postpone(queue, dead, 0)
    give_up(queue, dead)
    assert pending_deliveries(queue) == 1
    delivered(queue, living)
    assert pending_deliveries(queue) == 0


def test_a_post_that_failed_is_tried_again_until_it_is_too_old(queue: JobQueue) -> None:
    request = asked(queue)
    perform(queue)
    request.hand_over({DELIVERY: "unfinished"})
    postpone(queue, claim(queue), 60)
    assert claim_delivery(queue) is None
    # Nobody knows whether Label Studio has stored it, so nobody else may answer.
    assert BatchDeliveries(queue).hold([DELIVERY], 40) == set()
    let_it_be_due(queue)
    claimed = claim(queue)
    assert claimed.tries == 1
    postpone(queue, claimed, 0)
    queue.redis.hset(f"self1e:delivery:{DELIVERY.id}", "expires", 1)
    assert claim(queue).outcome == "too old"
    assert pending_deliveries(queue) == 0


def test_what_is_refused_for_good_is_given_up(queue: JobQueue) -> None:
    request = asked(queue)
    perform(queue)
    request.hand_over({DELIVERY: "unfinished"})
    give_up(queue, claim(queue))
    assert pending_deliveries(queue) == 0
    asked(queue)


def test_nothing_is_left_of_a_delivery_whose_redis_lost_half_of_it(queue: JobQueue) -> None:
    asked(queue)
    queue.redis.delete(f"self1e:delivery:{DELIVERY.id}")
    let_it_be_due(queue)
    assert claim_delivery(queue) is None
    assert pending_deliveries(queue) == 0


def test_hundreds_of_tasks_take_few_round_trips(queue: JobQueue) -> None:
    many = [Delivery(task, "4.1", "v1", JOB.id) for task in range(1000)]
    request = BatchDeliveries(queue)
    before = queue.redis.info("stats")["total_commands_processed"]
    assert request.hold(many, 40) == set(many)
    assert request.hand_over(dict.fromkeys(many, "finished")) == set(many)
    request.confirm()
    commands = queue.redis.info("stats")["total_commands_processed"] - before
    assert commands < 20 * len(many)
    assert pending_deliveries(queue) == 0


def test_without_redis_calls_say_so(tmp_path: Path) -> None:
    queue = JobQueue(f"unix://{tmp_path}/none", job_timeout=1, result_ttl=1)
    with pytest.raises(QueueUnavailableError, match="REDIS_URL"):
        BatchDeliveries(queue).hold([DELIVERY], 1)
    with pytest.raises(QueueUnavailableError, match="REDIS_URL"):
        claim_delivery(queue)
