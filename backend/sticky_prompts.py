"""The prompts that a project's annotators asked for last, for batches that bring none of their own.

They are kept in redis, so that every web process knows what any of them was asked.
"""

import logging
from typing import cast

from backend.errors import QueueUnavailableError
from backend.log import log_event
from backend.queue import JobQueue, unavailable_as_error

logger = logging.getLogger(__name__)

_PROMPTS_PREFIX = "self1e:prompts:"
_KEPT_SECONDS = 90 * 24 * 3600


def remember_prompts(queue: JobQueue, project: str, prompts: str) -> None:
    """Keeps what was entered last, for 90 days; without redis it only says so in the log.

    Args:
        queue: whose redis keeps it.
        project: as Label Studio names it to its backends, the id and when it was created.
        prompts: one entry of the prompt's TextArea.
    """
    try:
        with unavailable_as_error():
            queue.redis.set(_PROMPTS_PREFIX + project, prompts.encode(), ex=_KEPT_SECONDS)
    except QueueUnavailableError as error:
        log_event(logger, logging.WARNING, "last prompts not kept", detail=error)


def last_prompts(queue: JobQueue, project: str) -> str:
    """What `remember_prompts` kept of this project, empty if nothing.

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    with unavailable_as_error():
        kept = cast("bytes | None", queue.redis.get(_PROMPTS_PREFIX + project))
    return "" if kept is None else kept.decode()
