"""What Label Studio's events mean for learning: a training asked for, annotations come and gone."""

import logging

from backend.errors import QueueUnavailableError
from backend.finetune_requests import FinetuneRequests
from backend.log import log_event
from backend.schemas import WebhookRequest

logger = logging.getLogger(__name__)


def note_event(event: WebhookRequest, requests: FinetuneRequests, *, finetune_after: int) -> None:
    """Writes down what an event means, after it has been acknowledged.

    An event that redis cannot take is lost, as are those that Label Studio could not send. Only
    when the next training begins is late then: each one reads all annotations through the API.

    Args:
        event: as Label Studio sent it.
        requests: where trainings are asked for.
        finetune_after: how many accepted annotations ask for one; 0 for never.
    """
    if event.project is None:
        return
    project_id = event.project.id
    try:
        if event.action == "START_TRAINING":
            requests.request(project_id)
        elif finetune_after:
            requests.withdraw(project_id, event.withdrawn_annotations)
            requests.accept(project_id, event.accepted_annotations, finetune_after=finetune_after)
    except QueueUnavailableError as error:
        log_event(
            logger,
            logging.WARNING,
            "event lost",
            action=event.action,
            project=project_id,
            reason=str(error),
        )
