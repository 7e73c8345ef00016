"""`make demo`: a Label Studio of one's own with a ready project, connected to a whole backend.

Everything listens on loopback only and keeps its state in one directory, so that the next start
finds the annotations again. Whatever ends the demo ends both servers.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from backend.demo_project import ready_project
from backend.errors import BackendError
from backend.file_lock import try_lock
from backend.label_studio_admin import LabelStudioAdmin
from backend.label_studio_server import HOST, LabelStudioLogin, server_command, server_url
from backend.service_process import (
    ServiceCommand,
    ServiceProcess,
    ServiceStartError,
    free_port,
)

ROOT = Path(__file__).parents[1]
LABEL_STUDIO_PROGRAM = ROOT / ".venv-label-studio" / "bin" / "label-studio"

_LABEL_STUDIO_START_SECONDS = 600.0  # a slow disk may need minutes to make the database
_BACKEND_START_SECONDS = 3600.0  # a model from the hub may have to be downloaded
_WATCH_SECONDS = 1.0
_PROGRESS_LINE_SECONDS = 15.0


class DemoError(Exception):
    """The demo cannot run; the message says what to do."""


@dataclass(frozen=True)
class DemoPorts:
    """The ports that the two servers listen on."""

    label_studio: int
    backend: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the demo's options."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=ROOT / ".demo",
        help="directory that keeps the demo's annotations and logs (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=8080,
        help="port of Label Studio, or the next free one (default: %(default)s)",
    )
    parser.add_argument(
        "--backend-port",
        type=int,
        default=9090,
        help="port of the backend, or the next free one (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the demo until Ctrl-C, a signal to stop, or the end of one of its servers.

    Returns:
        Exit code: 0 after Ctrl-C or a signal, 1 if something failed.
    """
    data_dir = arguments.data_dir.absolute()
    try:
        with _stopped_by_signals():
            ended = _run_servers(data_dir, arguments.port, arguments.backend_port)
    except _StopDemo:
        _say("The demo has stopped. Your annotations are kept; `make demo` continues.")
        return 0
    except (DemoError, ServiceStartError, BackendError) as error:
        _say(f"\nThe demo has stopped: {error}")
    else:
        _say(f"\nThe demo has stopped: {ended} has ended unexpectedly. Its log is in {data_dir}.")
    return 1


class _StopDemo(BaseException):
    """A signal asked the demo to stop; no `except Exception` may keep it from doing so."""


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Turns the first SIGINT, SIGTERM or SIGHUP into _StopDemo; later ones change nothing."""
    stopping = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in stopping:
            signal.signal(number, signal.SIG_IGN)
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(sys.stdout.fileno(), b"\nStopping ...\n")
        raise _StopDemo

    before = {number: signal.signal(number, stop) for number in stopping}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_servers(data_dir: Path, label_studio_port: int, backend_port: int) -> str:
    """Returns the name of the server that has ended; otherwise ends only by an exception."""
    if not LABEL_STUDIO_PROGRAM.exists():
        raise DemoError(
            f"Label Studio is not at {LABEL_STUDIO_PROGRAM}. Start the demo with `make demo` in a "
            "clone of the repository: it installs Label Studio there."
        )
    has_terminal = sys.stdout.isatty()
    with _only_demo_in(data_dir), contextlib.ExitStack() as servers:
        login = LabelStudioLogin.load_or_create(data_dir / "login.json")
        ports = DemoPorts(
            _free_port_for("Label Studio", label_studio_port),
            _free_port_for("the backend", backend_port),
        )
        database = data_dir / "label-studio" / "label_studio.sqlite3"
        first_time = not database.exists()
        label_studio = servers.enter_context(
            ServiceProcess(
                server_command(
                    LABEL_STUDIO_PROGRAM,
                    data_dir / "label-studio",
                    ports.label_studio,
                    login,
                    data_dir / "label-studio.log",
                )
            )
        )
        # Both start at the same time: each takes a while, and neither needs the other for it.
        backend_command = _backend_command(data_dir, ports, login)
        backend = servers.enter_context(ServiceProcess(backend_command))
        with _progress(
            "Label Studio makes its database, only this first time: about a minute"
            if first_time
            else "Label Studio starts"
        ) as on_wait:
            label_studio.wait_until_ready(_LABEL_STUDIO_START_SECONDS, on_wait)
        with _progress("The backend starts") as on_wait:

            def on_backend_wait(seconds: float) -> None:
                _raise_logged_error(backend_command.log_file)
                on_wait(seconds)

            backend.wait_until_ready(_BACKEND_START_SECONDS, on_backend_wait)
        admin = LabelStudioAdmin(server_url(ports.label_studio), login.api_key)
        project = ready_project(admin, f"http://{HOST}:{ports.backend}")
        _say(_welcome(ports, login, project, data_dir))
        return _first_ended({"Label Studio": label_studio, "the backend": backend}, has_terminal)


@contextlib.contextmanager
def _only_demo_in(data_dir: Path) -> Iterator[None]:
    """Holds the directory's lock, which the system releases however this process ends."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data_dir / "lock").open("w") as lock:
        if not try_lock(lock):
            raise DemoError(
                f"another demo is running with {data_dir}. Stop it (Ctrl-C in its terminal), or "
                "start this one with another directory: make demo ARGS='--data-dir DIR'."
            )
        yield


def _free_port_for(what: str, preferred: int) -> int:
    port = free_port(preferred)
    if port != preferred:
        _say(f"Port {preferred} is taken, so {what} gets port {port}.")
    return port


def _backend_command(data_dir: Path, ports: DemoPorts, login: LabelStudioLogin) -> ServiceCommand:
    environment: Mapping[str, str] = {
        # The user's choice of model and device counts; where things are is the demo's.
        "SELF1E_DEVICE": "cpu",
        **os.environ,
        "HOST": HOST,
        "PORT": str(ports.backend),
        "LABEL_STUDIO_URL": server_url(ports.label_studio),
        "LABEL_STUDIO_API_KEY": login.api_key,
        "REDIS_URL": "",
        "BASIC_AUTH_USER": "",
        "BASIC_AUTH_PASS": "",
        "SELF1E_WEBHOOK_SECRET": "",
        "SELF1E_DATA_DIR": str(data_dir / "backend"),
    }
    return ServiceCommand(
        name="The backend",
        arguments=[sys.executable, "-m", "backend", "serve"],
        environment=environment,
        health_url=f"http://{HOST}:{ports.backend}/health",
        log_file=data_dir / "backend.log",
        working_directory=ROOT,
        ready_health={"worker": "ready"},
    )


def _raise_logged_error(log_file: Path) -> None:
    """Gives up on a backend that keeps trying, for example to load a model that is not there."""
    for line in log_file.read_text(errors="replace").splitlines():
        if " ERROR " in line:
            raise DemoError(f"the backend does not start. {log_file} says:\n{line}")


def _welcome(ports: DemoPorts, login: LabelStudioLogin, project: int, data_dir: Path) -> str:
    return f"""
The demo is ready:

    {server_url(ports.label_studio)}/projects/{project}/data

    e-mail    {login.email}
    password  {login.password}

1. Open a photo and switch on Auto-Annotation below it (your browser remembers it).
2. Type what to mark, for example: the cat. Press Enter.
3. Accept the mask with the tick below, then Submit.

Ctrl-C here stops everything.
(Backend: http://{HOST}:{ports.backend}, logs and annotations: {data_dir})
"""


def _first_ended(servers: Mapping[str, ServiceProcess], has_terminal: bool) -> str:
    """Waits for the end of a server, and returns its name.

    Raises:
        _StopDemo: the terminal was closed. `make`, between it and us, keeps its SIGHUP to itself.
    """
    while True:
        for name, server in servers.items():
            if server.has_ended(within=_WATCH_SECONDS):
                return name
        if has_terminal and not sys.stdout.isatty():
            raise _StopDemo


@contextlib.contextmanager
def _progress(text: str) -> Iterator[Callable[[float], None]]:
    """Shows that something is being waited for: a moving line on a terminal, else a few lines."""
    begin = time.monotonic()
    lines_shown = 0

    def on_wait(seconds: float) -> None:
        nonlocal lines_shown
        if sys.stdout.isatty():
            sys.stdout.write(f"\r{text} ... {seconds:.0f} s")
            sys.stdout.flush()
        elif seconds >= lines_shown * _PROGRESS_LINE_SECONDS:
            lines_shown += 1
            _say(f"{text} ... {seconds:.0f} s")

    yield on_wait
    end = "\r" if sys.stdout.isatty() else ""
    _say(f"{end}{text}: done after {time.monotonic() - begin:.0f} s")


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError, OSError):  # the terminal may have been closed
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
