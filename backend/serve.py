"""Runs the whole backend on one machine: redis (unless REDIS_URL is set), workers, web process."""

import contextlib
import logging
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Literal

from backend.child_process import ChildProcess
from backend.health_check import reachable_host, web_health
from backend.log import configure_logging, log_event
from backend.redis_server import RedisServerError, embedded_redis
from backend.settings import Settings

logger = logging.getLogger(__name__)

# A running job may take this long to finish before its worker is killed; it is then put back.
_STOP_SECONDS = 15.0
_TRAINER = "trainer"
_READY_PROBE_SECONDS = 0.5
_FIRST_BACK_OFF_SECONDS = 1.0
_LONGEST_BACK_OFF_SECONDS = 60.0
# A worker that lived this long starts over with the shortest back-off.
_HEALTHY_SECONDS = 60.0


@dataclass(frozen=True)
class _Event:
    """What the supervisor reacts to; `name` is the process it is about."""

    kind: Literal["stop", "ended", "restart"]
    name: str = ""


def serve(settings: Settings, *, workers: int, announce: Callable[[str], None]) -> int:
    """Runs everything until SIGINT or SIGTERM, and stops all of it.

    A worker or trainer that ends is started again, after longer and longer pauses. Without the web
    process or redis nothing works: when one of them ends, everything is stopped.

    Args:
        settings: of all processes, which read the same environment.
        workers: how many worker processes, each with a model of its own.
        announce: told once, for people, that predictions can be asked for and where.

    Returns:
        The exit code.
    """
    configure_logging(settings, "serve")
    try:
        return _Supervisor(settings, workers, announce).run()
    except RedisServerError as error:
        log_event(logger, logging.ERROR, str(error))
        return 1


class _Supervisor:
    """Children, and one queue of events that signal handlers and threads put into."""

    def __init__(self, settings: Settings, workers: int, announce: Callable[[str], None]) -> None:
        self._settings = settings
        self._announce = announce
        self._worker_names = [f"worker-{number + 1}" for number in range(workers)]
        restarted = [*self._worker_names, _TRAINER]
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._children: dict[str, ChildProcess] = {}
        self._started_at: dict[str, float] = {}
        self._back_off = dict.fromkeys(restarted, _FIRST_BACK_OFF_SECONDS)
        self._is_announced = False

    def run(self) -> int:
        signal.signal(signal.SIGINT, self._request_stop)
        signal.signal(signal.SIGTERM, self._request_stop)
        with contextlib.ExitStack() as stack:
            if not self._settings.redis_url.get_secret_value():
                server = stack.enter_context(embedded_redis(self._settings.data_dir))
                self._watch("redis", server)
            stack.callback(self._stop_children)
            self._start("web")
            for name in (*self._worker_names, _TRAINER):
                self._start(name)
            return self._supervise()

    def _request_stop(self, signum: int, _frame: FrameType | None) -> None:
        # A second signal ends this process at once; the children notice that.
        signal.signal(signum, signal.SIG_DFL)
        self._events.put(_Event("stop"))

    def _supervise(self) -> int:
        while True:
            try:
                event = self._events.get(
                    timeout=None if self._is_announced else _READY_PROBE_SECONDS
                )
            except queue.Empty:
                self._announce_when_ready()
                continue
            if event.kind == "stop":
                log_event(logger, logging.INFO, "stopping")
                return 0
            if event.kind == "restart":
                self._start(event.name)
            elif event.name in self._back_off:
                self._restart_later(event.name)
            else:
                log_event(logger, logging.ERROR, f"{event.name} ended: stopping everything")
                return 1

    def _start(self, name: str) -> None:
        command = [name] if name in ("web", _TRAINER) else ["worker", "--name", name]
        self._children[name] = ChildProcess([sys.executable, "-m", "backend", *command])
        self._started_at[name] = time.monotonic()
        self._watch(name, self._children[name])

    def _watch(self, name: str, child: ChildProcess) -> None:
        def wait() -> None:
            child.wait()
            self._events.put(_Event("ended", name))

        threading.Thread(target=wait, name=f"watch-{name}", daemon=True).start()

    def _restart_later(self, name: str) -> None:
        code = self._children[name].stop(0)
        if time.monotonic() - self._started_at[name] > _HEALTHY_SECONDS:
            self._back_off[name] = _FIRST_BACK_OFF_SECONDS
        pause = self._back_off[name]
        self._back_off[name] = min(2 * pause, _LONGEST_BACK_OFF_SECONDS)
        log_event(
            logger, logging.WARNING, "process ended", name=name, code=code, restart_in_s=pause
        )
        timer = threading.Timer(pause, self._events.put, [_Event("restart", name)])
        timer.daemon = True
        timer.start()

    def _stop_children(self) -> None:
        for child in self._children.values():
            child.terminate()
        for child in self._children.values():
            child.stop(_STOP_SECONDS)

    def _announce_when_ready(self) -> None:
        health = web_health(self._settings)
        if health.get("worker") != "ready":
            return
        self._is_announced = True
        host = reachable_host(self._settings.host)
        secret = self._settings.webhook_secret.get_secret_value()
        self._announce(
            f"\nReady ({health['model_version']}). Connect Label Studio to "
            f"http://{host}:{self._settings.port}{'/<SELF1E_WEBHOOK_SECRET>' if secret else ''}\n"
            "In the project: Settings > Model > Connect Model, with interactive preannotations on. "
            "Ctrl-C stops everything.\n"
        )
