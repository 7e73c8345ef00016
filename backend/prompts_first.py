"""Makes a training wait while annotators wait for masks."""

import time

from rq.job import Job

from backend.errors import QueueUnavailableError
from backend.queue import JobQueue, unavailable_as_error

_LOOK_SECONDS = 0.2
_AWAY_SECONDS = 30.0


class PromptsFirst:
    """Called between two steps: returns when no interactive job waits or runs."""

    def __init__(self, queue: JobQueue) -> None:
        """Args: queue: of the backend whose annotators come first."""
        self._queue = queue
        self._ask_again = 0.0
        self.waited = 0.0
        """Time spent waiting so far, in seconds."""

    def __call__(self) -> None:
        """Waits; without a redis there is nobody to wait for, and it is not asked for a while."""
        start = time.monotonic()
        while self._is_busy():
            time.sleep(_LOOK_SECONDS)
        self.waited += time.monotonic() - start

    def _is_busy(self) -> bool:
        if time.monotonic() < self._ask_again:
            return False
        try:
            return self._queue.waiting()["interactive"] > 0 or self._runs_interactive()
        except QueueUnavailableError:
            self._ask_again = time.monotonic() + _AWAY_SECONDS
            return False

    def _runs_interactive(self) -> bool:
        running = self._queue.running()
        with unavailable_as_error(), self._queue.redis.pipeline(transaction=False) as pipeline:
            for job_id in running:
                pipeline.hget(Job.key_for(job_id), "origin")
            return b"interactive" in pipeline.execute()
