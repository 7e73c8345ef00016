"""Answers a /predict request: tasks become jobs, the jobs' results become predictions."""

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.deliveries import KEEP_SECONDS, BatchDeliveries, Delivery
from backend.errors import BadRequestError, QueueUnavailableError
from backend.jobs import SegmentJob, job_for_task
from backend.label_config import LabelConfig, parse_label_config
from backend.log import log_event
from backend.prompts import newest_prompt
from backend.queue import JobOutcome, JobQueue
from backend.schemas import PredictRequest, Task
from backend.status_message import StatusArea
from backend.sticky_prompts import last_prompts, remember_prompts

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictAnswer:
    """One item per task, in the tasks' order, and what became of the tasks, for the log.

    An item is a prediction, or an empty list for a task that failed, is unfinished, or that
    another answer or a worker sees to: Label Studio then stores nothing and can ask again. A
    prediction with an empty result is stored, and says that nothing there fits the prompt.
    """

    items: list[Any]
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Asked:
    """What was made of a task: a job if it asks for one, and its delivery if there is to be one."""

    job: SegmentJob | None
    delivery: Delivery | None


class Predictions:
    """The predictions of one request, as far as they were made in time."""

    def __init__(
        self,
        asked: Sequence[_Asked],
        outcomes: Mapping[str, JobOutcome],
        deliveries: BatchDeliveries | None,
        held: set[Delivery],
        *,
        status: StatusArea | None = None,
    ) -> None:
        """With a status every answer says there what became of the prompt."""
        self._asked = asked
        self._status = status
        self._outcomes = outcomes
        self._deliveries = deliveries
        self._held = held

    def answer(self) -> PredictAnswer:
        """What is done by now, to be sent at once: from now on workers deliver the rest.

        Raises:
            QueueUnavailableError: redis does not answer.
        """
        held = self._held
        if self._deliveries is not None:
            held = self._deliveries.hand_over(
                {each: self._outcomes[each.job].status for each in held}
            )
        answer = PredictAnswer([])
        for each in self._asked:
            item: Any = []
            if each.job is None:
                answer.counts["skipped"] += 1
            elif each.delivery is not None and each.delivery not in held:
                answer.counts["elsewhere"] += 1
            else:
                outcome = self._outcomes[each.job.id]
                answer.counts[outcome.status] += 1
                item = [] if outcome.result is None else outcome.result
                if self._status is not None:
                    item = self._status.told(each.job, outcome)
            answer.items.append(item)
        return answer

    def confirm(self) -> None:
        """Says that the answer was sent; workers look after the predictions of one that was not."""
        if self._deliveries is not None:
            with contextlib.suppress(QueueUnavailableError):
                self._deliveries.confirm()


class RefusedPredictions(Predictions):
    """No predictions of an interactive request, and the reason for the annotator."""

    def __init__(self, request: PredictRequest, status: StatusArea, reason: str) -> None:
        super().__init__((), {}, None, set())
        self._items = [status.alone(reason) for _ in request.tasks]

    def answer(self) -> PredictAnswer:
        """The reason, once per task."""
        return PredictAnswer(list(self._items), Counter(failed=len(self._items)))


def make_predictions(
    request: PredictRequest,
    queue: JobQueue,
    *,
    model_version: str,
    timeout: float,
    separate_in_batch: bool = False,
    deliver: bool = False,
) -> Predictions:
    """Has all tasks segmented, waiting at most `timeout` seconds.

    What is unfinished by then goes on. It is there when Label Studio asks again, and workers post
    it to Label Studio if they are to deliver.

    Args:
        request: interactive if it has a context, else a batch.
        queue: where the workers take jobs from.
        model_version: the version that has to answer.
        timeout: in seconds.
        separate_in_batch: whether each piece of a mask becomes a region of its own in a batch.
        deliver: whether workers deliver what is left of a batch.

    In an interactive request whose config has a status for the annotator, what would be raised
    while making the predictions is said there instead.

    Raises:
        LabelConfigError: the labeling config cannot take masks.
        BadRequestError: the context is malformed, or an interactive task has no image.
        QueueUnavailableError: redis does not answer.
    """
    config = parse_label_config(request.label_config)
    status = None
    if request.params.context is not None and config.status_name is not None:
        status = StatusArea(config.status_name, config.image_name, model_version)
    try:
        return _predictions(
            request,
            config,
            queue,
            status,
            model_version=model_version,
            timeout=timeout,
            separate_in_batch=separate_in_batch,
            deliver=deliver,
        )
    except (BadRequestError, QueueUnavailableError) as error:
        if status is None:
            raise
        log_event(logger, logging.WARNING, "predictions refused", detail=error)
        return RefusedPredictions(request, status, str(error))


def _predictions(
    request: PredictRequest,
    config: LabelConfig,
    queue: JobQueue,
    status: StatusArea | None,
    *,
    model_version: str,
    timeout: float,
    separate_in_batch: bool,
    deliver: bool,
) -> Predictions:
    deadline = time.monotonic() + timeout
    context, project = request.params.context, request.project_key
    is_batch = context is None
    prompts = last_prompts(queue, project) if project and is_batch else ""
    jobs = [
        _job(
            task,
            context,
            config,
            model_version,
            last_prompts=prompts,
            separate_in_batch=separate_in_batch,
        )
        for task in request.tasks
    ]
    if project and any(jobs) and (entered := newest_prompt(context, config)):
        remember_prompts(queue, project, entered)
    deliver = deliver and is_batch and bool(project)
    asked = [
        _Asked(job, _delivery(task, job, project) if deliver else None)
        for task, job in zip(request.tasks, jobs, strict=True)
    ]
    deliveries = BatchDeliveries(queue) if deliver else None
    held: set[Delivery] = set()
    if deliveries is not None:
        # Before the jobs: if this process dies here, none of them is left without a delivery.
        held = deliveries.hold([each.delivery for each in asked if each.delivery], timeout)
    queue.put(
        [each.job for each in asked if each.job],
        "batch" if is_batch else "interactive",
        keep=KEEP_SECONDS if deliver else None,
    )
    awaited = {
        each.job.id: None
        for each in asked
        if each.job and (each.delivery is None or each.delivery in held)
    }
    outcomes = queue.wait(list(awaited), max(0.0, deadline - time.monotonic()))
    failures = (outcome.reason for outcome in outcomes.values() if outcome.status == "failed")
    for reason, count in Counter(failures).items():
        log_event(logger, logging.WARNING, "predictions failed", count=count, reason=reason)
    return Predictions(asked, outcomes, deliveries, held, status=status)


def _job(
    task: Task,
    context: dict[str, Any] | None,
    config: LabelConfig,
    model_version: str,
    **batch: Any,
) -> SegmentJob | None:
    """The task's job; None if it asks for nothing, or is one bad task of a batch."""
    try:
        return job_for_task(task.model_dump(), context, config, model_version, **batch)
    except BadRequestError as error:
        if context is not None:
            raise
        log_event(logger, logging.WARNING, "task skipped", task=task.id, detail=error)
        return None


def _delivery(task: Task, job: SegmentJob | None, project: str) -> Delivery | None:
    """The task's delivery; None if it has no job, or no id that Label Studio gives."""
    if job is None or not isinstance(task.id, int):
        return None
    return Delivery(task.id, project, job.model_version, job.id)
