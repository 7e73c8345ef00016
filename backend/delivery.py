"""Posts predictions to Label Studio that were not ready when it asked: a thread of each worker."""

import contextlib
import logging
import threading
from collections.abc import Iterator

from backend.deliveries import (
    ClaimedDelivery,
    can_deliver,
    claim_delivery,
    delivered,
    give_up,
    postpone,
)
from backend.errors import LabelStudioError, QueueUnavailableError
from backend.log import log_event
from backend.predictions_api import PredictionRefusedError, PredictionsApi
from backend.queue import JobQueue
from backend.settings import Settings

logger = logging.getLogger(__name__)

_IDLE_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 60.0
# A post in flight when the worker is asked to stop gets so long.
_STOP_SECONDS = 5.0


@contextlib.contextmanager
def delivering(queue: JobQueue, settings: Settings) -> Iterator[None]:
    """Delivers what is due in a thread, for as long as the context is open.

    Args:
        queue: whose redis has the deliveries and the results.
        settings: with Label Studio's URL and API key; without, nothing is delivered.
    """
    if not can_deliver(settings):
        log_event(
            logger,
            logging.INFO,
            "unfinished predictions are not posted: that needs LABEL_STUDIO_URL and "
            "LABEL_STUDIO_API_KEY",
        )
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(
        target=_deliver_until,
        args=(ended, queue, PredictionsApi(settings)),
        name="delivery",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_STOP_SECONDS)


def _deliver_until(ended: threading.Event, queue: JobQueue, api: PredictionsApi) -> None:
    pause = 0.0
    while not ended.wait(pause):
        try:
            claimed = claim_delivery(queue)
            if claimed is None:
                pause = _IDLE_SECONDS
            elif _deliver(queue, api, claimed):
                pause = 0.0
            else:
                # All others would fail as well: no need to try each.
                pause = min(max(2 * pause, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
        except QueueUnavailableError:
            # What was claimed is due again later; who takes it then sees whether it was posted.
            pause = _IDLE_SECONDS


def _deliver(queue: JobQueue, api: PredictionsApi, claimed: ClaimedDelivery) -> bool:
    """Brings a prediction to Label Studio; False if that may work later only."""
    delivery = claimed.delivery
    result = None
    if claimed.outcome == "finished":
        result = queue.wait([delivery.job], 0)[delivery.job].result
    if result is None:
        log_event(
            logger,
            logging.WARNING if claimed.outcome == "lost" else logging.ERROR,
            "prediction given up",
            task=delivery.task,
            reason=claimed.outcome,
        )
        give_up(queue, claimed)
        return True
    seconds = min(_FIRST_PAUSE_SECONDS * 2 ** min(claimed.tries, 10), _LONGEST_PAUSE_SECONDS)
    try:
        api.check_project(delivery.project)
        # Who had it before may have died after the post, or have answered without knowing.
        is_new = not api.has_prediction(delivery.task, delivery.model_version)
        if is_new:
            # A post without a reply may yet be stored.
            seconds = _LONGEST_PAUSE_SECONDS
            api.post_prediction(delivery.task, dict(result))
    except PredictionRefusedError as error:
        log_event(logger, logging.WARNING, "prediction refused", task=delivery.task, detail=error)
        give_up(queue, claimed)
        return True
    except LabelStudioError as error:
        log_event(
            logger,
            logging.WARNING,
            "prediction not delivered yet",
            task=delivery.task,
            again_in_seconds=seconds,
            detail=error,
        )
        postpone(queue, claimed, seconds)
        return False
    delivered(queue, claimed)
    log_event(logger, logging.INFO, "prediction delivered", task=delivery.task, posted=is_new)
    return True
