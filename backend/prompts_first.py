"""Makes a training wait while annotators wait for masks."""

import contextlib
import os
import time
from pathlib import Path

from rq.job import Job

from backend.errors import QueueUnavailableError
from backend.queue import JobQueue, unavailable_as_error

_LOWEST_PRIORITY = 19
_TERMINAL = Path("/dev/tty")
_SESSION_PRIORITY = Path("/proc/self/autogroup")
_LOOK_SECONDS = 0.2
_AWAY_SECONDS = 30.0


def give_way() -> None:
    """Gives this process the lowest priority, and its session too unless a terminal belongs to it.

    Linux may share the CPU out by session (sched_autogroup_enabled): only the session's priority
    then counts against the worker's. That of a terminal would stay low after the training.
    """
    os.nice(_LOWEST_PRIORITY)
    try:
        os.close(os.open(_TERMINAL, os.O_RDONLY))
    except OSError:
        with contextlib.suppress(OSError):  # another system, or a kernel without sessions
            _SESSION_PRIORITY.write_text(str(_LOWEST_PRIORITY))


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
