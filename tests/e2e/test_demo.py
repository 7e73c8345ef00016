"""`make demo` as a newcomer meets it: one command starts all, one Ctrl-C ends all."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from backend.demo_project import PROJECT_TITLE, SAMPLES
from backend.label_studio_admin import LabelStudioAdmin
from backend.label_studio_server import server_url
from backend.service_process import free_port
from tests.conftest import LABEL_STUDIO_PROGRAM, ROOT
from tests.tiny_model import write_tiny_model


@dataclass(frozen=True)
class Demo:
    """A demo's process, with the directory and the first ports it was told to take."""

    process: "subprocess.Popen[str]"
    data_dir: Path
    port: int
    backend_port: int

    def read_until(self, text: str) -> str:
        """Its output as far as the first line with the text, or all of it."""
        lines = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            lines.append(line)
            if text in line:
                break
        return "".join(lines)

    def admin(self, port: int) -> LabelStudioAdmin:
        login = json.loads((self.data_dir / "login.json").read_text())
        return LabelStudioAdmin(server_url(port), login["api_key"])

    def processes(self) -> list[int]:
        """Ids of the processes that know its directory: all its servers, and itself."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            # Gone since, or another user's.
            with contextlib.suppress(OSError):
                known = (directory / "environ").read_bytes() + (directory / "cmdline").read_bytes()
                if str(self.data_dir).encode() in known:
                    found.append(int(directory.name))
        return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """A short path: there is a socket in it."""
    with tempfile.TemporaryDirectory(prefix="demo-") as directory:
        yield Path(directory)


@contextlib.contextmanager
def running_demo(data_dir: Path, model: Path, *, port: int) -> Iterator[Demo]:
    backend_port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "backend", "demo"),
            *("--data-dir", str(data_dir)),
            *("--port", str(port)),
            *("--backend-port", str(backend_port)),
        ],
        cwd=ROOT,
        env=os.environ | {"SELF1E_MODEL": str(model)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        demo = Demo(process, data_dir, port, backend_port)
        try:
            yield demo
        finally:
            process.terminate()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks processes up in /proc")
def test_one_command_starts_all_and_ctrl_c_leaves_nothing_but_the_work(
    data_dir: Path, model: Path
) -> None:
    port = free_port(18080)
    with running_demo(data_dir, model, port=port) as demo:
        output = demo.read_until("Ctrl-C here stops everything")
        assert f"{server_url(demo.port)}/projects/1/data" in output
        admin = demo.admin(demo.port)
        assert len(admin.tasks(1)) == len(list(SAMPLES.glob("*.jpg")))
        assert len(demo.processes()) > 4  # itself, Label Studio, redis, web, worker

        demo.process.send_signal(signal.SIGINT)
        assert "Your annotations are kept" in demo.process.communicate(timeout=60)[0]
        assert demo.process.returncode == 0
        assert demo.processes() == []

    # Again, with the port of Label Studio taken in the meantime.
    with (
        socket.create_server(("127.0.0.1", port)),
        running_demo(data_dir, model, port=port) as demo,
    ):
        output = demo.read_until("Ctrl-C here stops everything")
        assert f"Port {port} is taken" in output
        (line,) = [line for line in output.splitlines() if line.endswith("/projects/1/data")]
        admin = demo.admin(int(line.split(":")[2].split("/")[0]))
        assert admin.find_project(PROJECT_TITLE) == 1
        assert len(admin.tasks(1)) == len(list(SAMPLES.glob("*.jpg")))

        with running_demo(data_dir, model, port=port) as second:
            assert "another demo is running" in second.process.communicate(timeout=60)[0]
            assert second.process.returncode == 1

        demo.process.send_signal(signal.SIGTERM)
        demo.process.communicate(timeout=60)
        assert demo.process.returncode == 0
        assert demo.processes() == []


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    assert LABEL_STUDIO_PROGRAM.exists()
    with tempfile.TemporaryDirectory(prefix="demo-") as directory:
        missing = tmp_path / "no-such-model"
        with running_demo(Path(directory), missing, port=free_port(18080)) as demo:
            output = demo.process.communicate(timeout=300)[0]

        assert demo.process.returncode == 1
        assert "model not loaded" in output
        assert str(Path(directory) / "backend.log") in output
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://127.0.0.1:{demo.backend_port}/health", timeout=1)
