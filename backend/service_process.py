"""A server run as a child process: started, waited for until it answers, and stopped."""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from backend.child_process import ChildProcess

_POLL_SECONDS = 0.3
_HEALTH_TIMEOUT_SECONDS = 2.0
_STOP_SECONDS = 30.0
_LOG_TAIL_LINES = 15


class ServiceStartError(Exception):
    """The server ended, or was not ready in time; the message shows the end of its log."""


@dataclass(frozen=True)
class ServiceCommand:
    """How to start a server, and how to tell that it is ready.

    Ready is when `health_url` answers 2xx with a JSON object that holds all of `ready_health`.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    health_url: str
    log_file: Path
    working_directory: Path
    ready_health: Mapping[str, Any]


class ServiceProcess:
    """The running server; as a context manager it is stopped at the end of the block."""

    def __init__(self, command: ServiceCommand) -> None:
        """Starts the server without waiting for it; its log is written anew."""
        self._command = command
        command.log_file.parent.mkdir(parents=True, exist_ok=True)
        self._process = ChildProcess(
            command.arguments,
            cwd=command.working_directory,
            environment=command.environment,
            output=command.log_file,
        )

    def __enter__(self) -> "ServiceProcess":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def wait_until_ready(
        self, timeout: float, on_wait: Callable[[float], None] | None = None
    ) -> None:
        """Blocks until the server is ready.

        Args:
            timeout: longest time to wait, in seconds.
            on_wait: called a few times a second with the seconds waited so far.

        Raises:
            ServiceStartError: the server ended before, or the time is up.
        """
        begin = time.monotonic()
        while not self._is_ready():
            waited = time.monotonic() - begin
            if waited > timeout:
                raise ServiceStartError(self._failure(f"was not ready within {timeout:.0f} s"))
            if on_wait is not None:
                on_wait(waited)
            if (code := self._process.wait(_POLL_SECONDS)) is not None:
                raise ServiceStartError(self._failure(f"ended with exit code {code}"))

    def has_ended(self, within: float) -> bool:
        """Whether the server has ended by itself; waits `within` seconds for that."""
        return self._process.wait(within) is not None

    def stop(self) -> None:
        """Asks the server to stop, and kills it and its children if that takes too long."""
        self._process.stop(_STOP_SECONDS)

    def _is_ready(self) -> bool:
        with requests.Session() as session:
            session.trust_env = False  # no proxy for a server on this machine
            try:
                reply = session.get(self._command.health_url, timeout=_HEALTH_TIMEOUT_SECONDS)
                health = reply.json()
            except requests.RequestException:  # no answer, or no JSON
                return False
        return reply.ok and health == {**health, **self._command.ready_health}

    def _failure(self, what: str) -> str:
        log_file = self._command.log_file
        tail = log_file.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return "\n".join([f"{self._command.name} {what}. The end of {log_file}:", *tail])


def free_port(preferred: int = 0, *, host: str = "127.0.0.1", tries: int = 50) -> int:
    """The first port from `preferred` on that nothing listens on; 0 takes any.

    Raises:
        ServiceStartError: none of the next `tries` ports is free.
    """
    for port in range(preferred, preferred + tries):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
            # As servers do: a port whose last connections are still closing counts as free.
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                server.bind((host, port if preferred else 0))
            except OSError:
                continue
            return int(server.getsockname()[1])
    raise ServiceStartError(f"No free port from {preferred} to {preferred + tries - 1} on {host}.")
