"""The trainer process: takes requests to learn from a project and runs one training at a time.

Light until a request comes: the training is a process of its own, `python -m backend.finetune`.
"""

import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from uuid import uuid4

from backend.child_process import ChildProcess
from backend.errors import QueueUnavailableError
from backend.finetune_exit import FinetuneExit
from backend.finetune_requests import LEASE_RENEWAL_SECONDS, FinetuneRequests
from backend.log import configure_logging, log_event
from backend.queue import connect
from backend.redis_server import redis_url
from backend.repeating import repeating
from backend.settings import Settings

logger = logging.getLogger(__name__)

_TAKE_SECONDS = 1.0
_RECONNECT_SECONDS = 1.0
_BUSY_SECONDS = 15.0
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 10.0
_ENDINGS: dict[int, str] = {
    FinetuneExit.PUBLISHED: "a new version is served",
    FinetuneExit.REFUSED: "the former version stays",
}


def run_trainer(settings: Settings) -> int:
    """Performs requests until SIGTERM or SIGINT; a running training goes on at the next start.

    Returns:
        The exit code.
    """
    configure_logging(settings, "trainer")
    stop = threading.Event()

    def request_stop(signum: int, _frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_DFL)
        stop.set()

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    connection = connect(redis_url(settings))
    requests = FinetuneRequests(connection)
    while not stop.is_set():
        name = uuid4().hex
        try:
            with _lease(requests, name):
                while not stop.is_set():
                    project_id = requests.take(name, _TAKE_SECONDS)
                    if project_id is not None:
                        _perform(requests, project_id, name, stop)
        except QueueUnavailableError as error:
            log_event(logger, logging.WARNING, "redis is away", detail=error)
            stop.wait(_RECONNECT_SECONDS)
    connection.close()
    log_event(logger, logging.INFO, "stopped")
    return 0


def _perform(requests: FinetuneRequests, project_id: int, name: str, stop: threading.Event) -> None:
    log_event(logger, logging.INFO, "training begins", project=project_id)
    code = _train(project_id, stop)
    while code == FinetuneExit.BUSY and not stop.wait(_BUSY_SECONDS):
        code = _train(project_id, stop)
    if stop.is_set():
        # Asked for again before it is given back: a kill in between loses nothing.
        requests.request(project_id)
        log_event(logger, logging.INFO, "training interrupted", project=project_id)
    else:
        log_event(
            logger,
            logging.INFO if code in _ENDINGS else logging.ERROR,
            "training ended",
            project=project_id,
            code=code,
            outcome=_ENDINGS.get(code, "it failed; its lines above say why"),
        )
    requests.done(project_id, name)


def _train(project_id: int, stop: threading.Event) -> int:
    """Runs a training; returns its exit code, or that of being stopped."""
    child = ChildProcess([sys.executable, "-m", "backend.finetune", "--project", str(project_id)])
    while (code := child.wait(_LOOK_SECONDS)) is None:
        if stop.is_set():
            return child.stop(_STOP_SECONDS)
    return code


@contextlib.contextmanager
def _lease(requests: FinetuneRequests, name: str) -> Iterator[None]:
    """Keeps the trainer's lease and puts dead trainers' requests back, in a thread."""

    def renew() -> None:
        with contextlib.suppress(QueueUnavailableError):
            requests.renew_lease(name)
            put_back, given_up = requests.reap()
            for event, ids in (
                ("training put back: its trainer died", put_back),
                ("training given up: its second trainer died", given_up),
            ):
                for project_id in ids:
                    log_event(logger, logging.WARNING, event, project=project_id)

    requests.renew_lease(name)
    try:
        with repeating(renew, LEASE_RENEWAL_SECONDS, "trainer-lease"):
            yield
    finally:
        with contextlib.suppress(QueueUnavailableError):
            requests.end_lease(name)
