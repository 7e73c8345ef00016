"""The predictions that Label Studio still has to get: who is responsible for each.

A batch request takes responsibility for its tasks (`BatchDeliveries`). What it cannot answer in
time, or what is left when its web process dies, a worker posts to Label Studio's API
(`claim_delivery` and what follows, see `delivery`). See `delivery_scripts` for what is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast
from uuid import uuid4

from redis.client import Pipeline
from rq.job import Job
from rq.results import Result

from backend import delivery_scripts
from backend.queue import JobQueue, unavailable_as_error
from backend.settings import Settings

# How long Label Studio may be away before a delivery is given up.
DELIVERY_SECONDS = 24 * 3600
# Results and deliveries are kept longer, so that the end is an error in the log and not a silence.
KEEP_SECONDS = DELIVERY_SECONDS + 3600

_DUE_KEY = "self1e:deliveries"
_PREFIX = "self1e:delivery:"

# A request that has not answered so long after its time budget is taken for dead.
_GRACE_SECONDS = 15.0
# How long Label Studio may take to store an answer: it does so one prediction after the other,
# which took 0.6 s each where it had a tenth of a processor.
_ANSWER_SECONDS = 30
_STORE_SECONDS = 1
# Longer than a worker's calls to Label Studio can take in all.
_POST_SECONDS = 180
_LOOK_AGAIN_SECONDS = 3.0
_LOOK_AT_MOST = 500
_AT_ONCE = 200

Outcome = Literal["finished", "failed", "unfinished"]


@dataclass(frozen=True)
class Delivery:
    """A task's prediction on its way to Label Studio.

    `project` is Label Studio's name for it, id and time of creation; `job` is the job's id.
    """

    task: int
    project: str
    model_version: str
    job: str

    @property
    def id(self) -> str:
        """Of one task and model version there is one delivery."""
        return f"{self.task}:{self.model_version}"


@dataclass(frozen=True)
class ClaimedDelivery:
    """A delivery that is due, taken by a worker.

    `outcome` is "finished" if the job's result has to be posted now. Otherwise the delivery has
    been given up: the job failed or is gone ("lost"), or Label Studio was away for too long.
    """

    delivery: Delivery
    outcome: Literal["finished", "lost", "too old"]
    holder: str
    tries: int


class BatchDeliveries:
    """One batch request's responsibility for its tasks.

    All methods raise QueueUnavailableError when redis does not answer.
    """

    def __init__(self, queue: JobQueue) -> None:
        """Args: queue: whose redis keeps the deliveries."""
        self._redis = queue.redis
        self._request = uuid4().hex
        self._answered: list[Delivery] = []
        self._patience = _ANSWER_SECONDS

    def hold(self, deliveries: Sequence[Delivery], seconds: float) -> set[Delivery]:
        """Takes responsibility for `seconds` and a little more.

        Returns:
            Those that this request has to see to. The others have another request or a worker that
            sees to them: an answer that holds them, too, would double them.
        """
        hold = [self._request, round((seconds + _GRACE_SECONDS) * 1000)]
        lifetime = [DELIVERY_SECONDS * 1000, KEEP_SECONDS]
        return self._all(
            delivery_scripts.HOLD,
            {each: [*hold, *lifetime, *_fields(each)] for each in deliveries},
        )

    def hand_over(self, outcomes: Mapping[Delivery, Outcome]) -> set[Delivery]:
        """Ends the responsibility, right before the answer is sent.

        Args:
            outcomes: of the jobs of all deliveries that were held. The finished ones are to be in
                the answer, the unfinished ones are left to the workers.

        Returns:
            Those that this request still had. All others must not be in the answer.
        """
        finished = sum(outcome == "finished" for outcome in outcomes.values())
        self._patience = _ANSWER_SECONDS + finished * _STORE_SECONDS
        patience = self._patience * 1000
        had = self._all(
            delivery_scripts.HAND_OVER,
            {each: [self._request, outcome, patience] for each, outcome in outcomes.items()},
        )
        self._answered = [each for each in had if outcomes[each] == "finished"]
        return had

    def confirm(self) -> None:
        """Says that the answer was sent. Without, workers look whether Label Studio has got it."""
        settle = ["answered", self._request, self._patience]
        self._all(delivery_scripts.SETTLE, dict.fromkeys(self._answered, settle))

    def _all(self, script: str, arguments: Mapping[Delivery, Sequence[object]]) -> set[Delivery]:
        """Runs a script for each delivery, and gives those for which it returned 1."""
        deliveries = list(arguments)
        replies: list[object] = []
        for start in range(0, len(deliveries), _AT_ONCE):
            with unavailable_as_error(), self._redis.pipeline(transaction=False) as pipeline:
                for each in deliveries[start : start + _AT_ONCE]:
                    _eval(pipeline, script, each.id, arguments[each])
                replies += pipeline.execute()
        return {each for each, reply in zip(deliveries, replies, strict=True) if reply == 1}


def can_deliver(settings: Settings) -> bool:
    """Whether it is known where to post predictions, and with which key."""
    return bool(settings.label_studio_url and settings.label_studio_api_key.get_secret_value())


def claim_delivery(queue: JobQueue) -> ClaimedDelivery | None:
    """Takes a delivery that is due and whose job has finished, or None.

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    holder = uuid4().hex
    prefixes = [_PREFIX, Job.redis_job_namespace_prefix, Result.get_key("")]
    times = [_POST_SECONDS * 1000, round(_LOOK_AGAIN_SECONDS * 1000), KEEP_SECONDS]
    with unavailable_as_error():
        reply = queue.redis.eval(
            delivery_scripts.CLAIM, 1, _DUE_KEY, *prefixes, holder, *times, _LOOK_AT_MOST
        )
    if reply is None:
        return None
    outcome, _, task, project, version, job, tries = (
        part.decode() for part in cast("list[bytes]", reply)
    )
    return ClaimedDelivery(
        Delivery(int(task), project, version, job),
        cast('Literal["finished", "lost", "too old"]', outcome),
        holder,
        int(tries),
    )


def delivered(queue: JobQueue, claimed: ClaimedDelivery) -> None:
    """Says that Label Studio has the prediction; its result is then kept like any other.

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    job = claimed.delivery.job
    with unavailable_as_error(), queue.redis.pipeline(transaction=False) as pipeline:
        arguments = ["busy", claimed.holder, _ANSWER_SECONDS]
        _eval(pipeline, delivery_scripts.SETTLE, claimed.delivery.id, arguments)
        pipeline.expire(Job.key_for(job), queue.result_ttl)
        pipeline.expire(Result.get_key(job), queue.result_ttl)
        pipeline.execute()


def postpone(queue: JobQueue, claimed: ClaimedDelivery, seconds: float) -> None:
    """Says that Label Studio could not be reached: the delivery is due again in `seconds`.

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    _postpone(queue, claimed, round(seconds * 1000))


def give_up(queue: JobQueue, claimed: ClaimedDelivery) -> None:
    """Says that Label Studio refuses the prediction for good.

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    _postpone(queue, claimed, -1)


def pending_deliveries(queue: JobQueue) -> int:
    """How many predictions Label Studio still has to get.

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    with unavailable_as_error():
        return queue.redis.zcard(_DUE_KEY)


def _postpone(queue: JobQueue, claimed: ClaimedDelivery, milliseconds: int) -> None:
    with unavailable_as_error(), queue.redis.pipeline(transaction=False) as pipeline:
        arguments = [claimed.holder, milliseconds]
        _eval(pipeline, delivery_scripts.POSTPONE, claimed.delivery.id, arguments)
        pipeline.execute()


def _eval(pipeline: Pipeline, script: str, delivery_id: str, arguments: Sequence[object]) -> None:
    keys = [_DUE_KEY, _PREFIX + delivery_id]
    pipeline.eval(script, 2, *keys, delivery_id, *cast("Sequence[str]", arguments))


def _fields(delivery: Delivery) -> list[object]:
    fields = {
        "task": delivery.task,
        "project": delivery.project,
        "version": delivery.model_version,
        "job": delivery.job,
        "tries": 0,
    }
    return [part for pair in fields.items() for part in pair]
