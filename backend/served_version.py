"""The model version the web process names, kept in memory."""

import contextlib
from collections.abc import Iterator

from backend.errors import QueueUnavailableError
from backend.queue import JobQueue
from backend.repeating import repeating

_LOOK_SECONDS = 2.0


class ServedVersion:
    """What ready workers say they serve; until one is ready, what this process expects.

    Reading it never waits: a thread looks into redis.
    """

    def __init__(self, expected: str) -> None:
        self.name = expected
        self.is_ready = False

    @contextlib.contextmanager
    def follow(self, queue: JobQueue) -> Iterator[None]:
        """Keeps it up to date for as long as the context is open."""

        def look() -> None:
            serving = None
            with contextlib.suppress(QueueUnavailableError):
                serving = queue.serving()
            self.is_ready = serving is not None
            self.name = serving or self.name

        with repeating(look, _LOOK_SECONDS, "served-version"):
            yield
