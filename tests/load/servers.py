"""The servers under load, each of which can be taken away and brought back."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from backend.label_studio_server import LabelStudioLogin, server_command, server_url
from backend.queue import JobQueue
from backend.redis_server import embedded_redis, redis_url
from backend.service_process import ServiceCommand, ServiceProcess, free_port
from backend.settings import Settings
from backend.worker_board import read_workers

ROOT = Path(__file__).parents[2]
LABEL_STUDIO_PROGRAM = ROOT / ".venv-label-studio" / "bin" / "label-studio"
START_SECONDS = 600.0

# Names of settings that the environment may hold; model, device and dtype stay the user's choice.
_OTHER_SETTINGS = ("SELF1E_", "LABEL_STUDIO_", "REDIS_URL", "BASIC_AUTH_", "HOST", "PORT")
_MODEL_SETTINGS = ("SELF1E_MODEL", "SELF1E_DEVICE", "SELF1E_DTYPE")
_SMALL_DISK_MB = 256
_FILL_BYTES = 1 << 20


class LabelStudio:
    """A Label Studio of this run's own, with an empty database."""

    def __init__(self, directory: Path) -> None:
        """Starts it without waiting for it."""
        port = free_port()
        self.url = server_url(port)
        self.login = LabelStudioLogin.random()
        self._command = server_command(
            LABEL_STUDIO_PROGRAM,
            directory / "label-studio",
            port,
            self.login,
            directory / "label-studio.log",
        )
        self._process = ServiceProcess(self._command)

    def start(self) -> None:
        """Starts it again and waits until it answers."""
        self._process = ServiceProcess(self._command)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        self._process.wait_until_ready(START_SECONDS)

    def stop(self) -> None:
        self._process.stop()


class Redis:
    """The embedded redis, run by us and not by `serve`, which would stop together with it."""

    def __init__(self, data_dir: Path) -> None:
        """Starts it."""
        self._data_dir = data_dir
        self._running = ExitStack()
        self.start()

    def start(self) -> None:
        self._running.enter_context(embedded_redis(self._data_dir))

    def kill(self, queue: JobQueue) -> None:
        os.kill(cast(int, queue.redis.info("server")["process_id"]), signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        self._running.close()


@dataclass(frozen=True)
class Backend:
    """A running backend: `python -m backend serve` with one worker, on a redis that we run."""

    url: str
    redis: Redis
    queue: JobQueue
    data_dir: Path
    environment: Mapping[str, str]
    wait_until_ready: Callable[[], None]

    def kill_worker(self) -> None:
        """Kills the worker as the system does when memory runs out."""
        for worker in read_workers(self.queue):
            if worker.state != "away":
                os.kill(worker.pid, signal.SIGKILL)


@contextmanager
def backend(
    directory: Path, label_studio_url: str, api_key: str, **environment: str
) -> Iterator[Backend]:
    """Starts a backend without waiting for it.

    Args:
        directory: for its data and its log; its path is short enough for a socket.
        label_studio_url: where images are read and predictions posted.
        api_key: for that.
        environment: further settings.
    """
    data_dir = directory / "data"
    port = free_port()
    settings = Settings.model_validate({"data_dir": data_dir, "redis_url": ""})
    with ExitStack() as stack:
        redis = Redis(data_dir)
        stack.callback(redis.stop)
        queue = JobQueue.from_settings(settings)
        stack.callback(queue.close)
        own = {
            "PORT": str(port),
            "REDIS_URL": redis_url(settings),
            "SELF1E_DATA_DIR": str(data_dir),
            "LABEL_STUDIO_URL": label_studio_url,
            "LABEL_STUDIO_API_KEY": api_key,
        }
        environment = _environment() | own | environment
        command = ServiceCommand(
            name="The backend",
            arguments=[sys.executable, "-m", "backend", "serve"],
            environment=environment,
            health_url=f"http://127.0.0.1:{port}/health",
            log_file=directory / "backend.log",
            working_directory=ROOT,
            ready_health={"worker": "ready"},
        )
        process = stack.enter_context(ServiceProcess(command))
        yield Backend(
            f"http://127.0.0.1:{port}",
            redis,
            queue,
            data_dir,
            environment,
            lambda: process.wait_until_ready(START_SECONDS),
        )


@contextmanager
def small_disk(directory: Path) -> Iterator[bool]:
    """Makes the directory a disk of its own that can be filled; False if that is not permitted."""
    directory.mkdir(parents=True, exist_ok=True)
    options = f"size={_SMALL_DISK_MB}m,mode=700"
    mount = ["mount", "-t", "tmpfs", "-o", options, "self1e-load", str(directory)]
    is_permitted = shutil.which("mount") is not None and os.geteuid() == 0
    is_mounted = is_permitted and subprocess.run(mount, check=False).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)


@contextmanager
def full_disk(directory: Path) -> Iterator[None]:
    """Leaves no byte on the directory's disk while the context is open."""
    file = directory / "fill"
    try:
        with file.open("wb", buffering=0) as filling:
            size = _FILL_BYTES
            while size:
                try:
                    filling.write(bytes(size))
                except OSError:
                    size //= 2
        yield
    finally:
        file.unlink()


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _MODEL_SETTINGS or not name.startswith(_OTHER_SETTINGS)
    }
