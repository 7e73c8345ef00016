"""A real redis and real worker processes, with a scripted model that can be held and killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from backend.app import create_app
from backend.jobs import SegmentJob
from backend.label_config import MaskControl
from backend.prompts import LabelledPrompt
from backend.queue import JobQueue
from backend.redis_server import embedded_redis
from backend.service_process import free_port
from backend.settings import Settings
from tests.integration.scripted_worker import VERSION

StartWorker = Callable[[], "subprocess.Popen[bytes]"]
Serve = Callable[..., "subprocess.Popen[str]"]


class Hold:
    """A prompt that keeps its worker busy until it is released."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._began, self._release = directory / "began", directory / "release"
        os.mkfifo(self._began)
        os.mkfifo(self._release)
        self.prompt = f"hold {directory}"

    def wait_until_begun(self) -> int:
        """Process id of the worker that runs it."""
        return int(self._began.read_text())

    def release(self) -> None:
        self._release.write_text("go\n")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Not tmp_path, whose long name may leave no room for a socket."""
    directory = Path(tempfile.mkdtemp(prefix="self1e-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return Settings(data_dir=data_dir, job_timeout=60, predict_timeout=30)


@pytest.fixture
def redis_server(data_dir: Path) -> Iterator[None]:
    with embedded_redis(data_dir):
        yield


@pytest.fixture
def queue(redis_server: None, settings: Settings) -> Iterator[JobQueue]:
    queue = JobQueue.from_settings(settings)
    yield queue
    queue.close()


@pytest.fixture
def runs_file(data_dir: Path) -> Path:
    path = data_dir / "runs"
    path.touch()
    return path


@pytest.fixture
def start_worker(settings: Settings, runs_file: Path) -> Iterator[StartWorker]:
    """Starts scripted workers; what they log can be read from their standard error."""
    running: list[subprocess.Popen[bytes]] = []
    environment = {
        **os.environ,
        "SELF1E_DATA_DIR": str(settings.data_dir),
        "SELF1E_JOB_TIMEOUT": str(settings.job_timeout),
        "SELF1E_BATCH_SIZE": str(settings.batch_size),
        "SELF1E_LOG_LEVEL": settings.log_level,
        "LABEL_STUDIO_URL": settings.label_studio_url,
        "LABEL_STUDIO_API_KEY": settings.label_studio_api_key.get_secret_value(),
    }

    def start() -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tests.integration.scripted_worker", str(runs_file)]
        running.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
        return running[-1]

    yield start
    for worker in running:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        assert worker.stderr is not None
        worker.stderr.close()


@pytest.fixture
def hold(data_dir: Path) -> Hold:
    return Hold(data_dir / "hold")


def job(prompt: str, image: str = "http://images.test/1.png") -> SegmentJob:
    """A job for the scripted workers."""
    control = MaskControl("mask", "image", "brushlabels")
    return SegmentJob(image, (LabelledPrompt(prompt, "car"),), control, VERSION)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def serve(data_dir: Path, port: int) -> Iterator[Serve]:
    """Starts a backend; without a model its workers end after the import of torch."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
        settings = {
            "SELF1E_DATA_DIR": str(data_dir),
            "SELF1E_MODEL": str(data_dir / "no-model"),
            "HF_HUB_OFFLINE": "1",
            "PORT": str(port),
        }
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "backend", "serve", *arguments],
                env=os.environ | settings | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def read_until(process: "subprocess.Popen[str]", text: str) -> str:
    """Reads the output up to and including the line with this text."""
    assert process.stdout is not None
    lines = ""
    for line in process.stdout:
        lines += line
        if text in line:
            return lines
    pytest.fail(f"The output ended without {text!r}:\n{lines}")


@pytest.fixture
def page_url(settings: Settings, queue: JobQueue) -> Iterator[str]:
    """The web application as its own process runs it."""
    port = free_port()
    config = uvicorn.Config(
        create_app(settings, queue), port=port, log_config=None, server_header=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def colour_worker(settings: Settings, queue: JobQueue) -> Iterator[None]:
    """A worker whose model sees colours."""
    environment = os.environ | {"SELF1E_DATA_DIR": str(settings.data_dir)}
    command = [sys.executable, "-m", "tests.contract.colour_worker"]
    process = subprocess.Popen(command, env=environment)
    yield
    process.kill()
    process.wait()
