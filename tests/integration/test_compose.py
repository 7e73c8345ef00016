"""Every command of the images and of the compose file, run on this machine.

No container engine is needed, and none has run here: each container is a process, its image an
environment, and names of the containers' network are addresses of this machine.
"""

import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from backend.child_process import ChildProcess
from backend.redis_server import redis_program
from backend.service_process import free_port
from tests.conftest import (
    ROOT,
    ProjectCreator,
    RunningLabelStudio,
    environment_without_settings,
)
from tests.docker_files import (
    COMPOSE,
    COMPOSE_TEXT,
    DOCKER,
    STAGES,
    example_env,
    image_command,
    service_command,
    service_environment,
)
from tests.tiny_model import write_tiny_model
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(600)

STOP_SECONDS = 30.0
DOCTOR = re.findall(r"^#   python (-m backend doctor .*)", COMPOSE_TEXT, re.M)[0]
LABEL_CONFIG = """\
<View>
  <Image name="image" value="$image"/>
  <TextArea name="prompt" toName="image"/>
  <BrushLabels name="mask" toName="image"><Label value="Cat"/></BrushLabels>
</View>"""


def run_steps(stage: str, environment: Path, directory: Path, wheels: Path) -> None:
    """What a stage installs, into an environment of its own."""
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    for step in re.findall(r"^RUN (.*)", STAGES[stage], re.M):
        command = re.sub(r"--mount=\S+ ", "", step)
        command = command.replace("/tmp/", f"{shlex.quote(str(DOCKER))}/")
        command = command.replace("/wheels", shlex.quote(str(wheels)))
        subprocess.run(
            ["sh", "-euc", command],
            cwd=directory,
            env=os.environ | {"PATH": f"{environment}/bin:{os.environ['PATH']}", "PIP_QUIET": "1"},
            check=True,
        )


@pytest.fixture(scope="module")
def web_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of the web image."""
    source = tmp_path_factory.mktemp("source")
    for name in re.findall(r"^COPY ([^/\n]*?) \S+$", STAGES["source"], re.M)[0].split():
        shutil.copyfile(ROOT / name, source / name)
    for package in ("self1e", "backend"):
        shutil.copytree(ROOT / package, source / package)
    wheels = tmp_path_factory.mktemp("wheels")
    run_steps("source", tmp_path_factory.mktemp("source-image"), source, wheels)
    image = tmp_path_factory.mktemp("web-image")
    run_steps("web", image, wheels, wheels)
    return image / "bin" / "python"


@dataclass
class Containers:
    """The services of the compose file, on this machine."""

    directory: Path
    label_studio: RunningLabelStudio
    web_python: Path

    def __post_init__(self) -> None:
        self.redis_port = free_port()
        self.web_port = free_port()
        self.secrets = example_env() | {
            "LABEL_STUDIO_API_KEY": self.label_studio.login.api_key,
            "BASIC_AUTH_PASS": secrets.token_hex(20),
            "SELF1E_WEBHOOK_SECRET": secrets.token_hex(20),
            # A version of its own: the doctor takes projects of the same version for its own, and
            # this Label Studio has those of other tests.
            "SELF1E_MODEL": str(self.directory / "compose-model"),
        }
        write_tiny_model(Path(self.secrets["SELF1E_MODEL"]))

    def here(self, text: str) -> str:
        """A text with this machine's addresses for those of the containers' network."""
        text = text.replace("redis:6379", f"127.0.0.1:{self.redis_port}")
        text = text.replace("web:9090", f"127.0.0.1:{self.web_port}")
        return text.replace("http://label-studio:8080", self.label_studio.url)

    def environment(self, service: str) -> dict[str, str]:
        """What a process of a service is started with."""
        own = {
            name: self.here(value)
            for name, value in service_environment(service, self.secrets).items()
        }
        if own["HOST"] == "web":
            own["HOST"] = "127.0.0.1"
        return (
            environment_without_settings()
            | own
            | {"SELF1E_DATA_DIR": str(self.directory / "data"), "PORT": str(self.web_port)}
            | {"SELF1E_DEVICE": "cpu"}
        )

    def command(self, service: str, words: list[str]) -> list[str]:
        """A command in a service's image."""
        python = str(self.web_python) if service == "web" else sys.executable
        return [python if word == sys.executable else word for word in words]

    def start(self, service: str) -> ChildProcess:
        """Starts a service that is built here."""
        return ChildProcess(
            self.command(service, service_command(service)),
            cwd=self.directory,
            environment=self.environment(service),
            output=self.directory / f"{service}.log",
        )

    def start_redis(self) -> ChildProcess:
        """Starts redis as the compose file does, on another port."""
        program, *options = COMPOSE["services"]["redis"]["command"]
        return ChildProcess(
            [redis_program(program), *options, "--port", str(self.redis_port)],
            cwd=self.directory,
            output=self.directory / "redis.log",
        )

    def run(self, service: str, words: list[str]) -> "subprocess.CompletedProcess[str]":
        """Runs a command in a running service's container."""
        return subprocess.run(
            self.command(service, words),
            cwd=self.directory,
            env=self.environment(service),
            capture_output=True,
            text=True,
            check=False,
        )

    def logs(self) -> str:
        """What the services have written."""
        return "\n".join(log.read_text() for log in self.directory.glob("*.log"))

    def is_redis_healthy(self) -> bool:
        """By the compose file's own check."""
        kind, program, *words = COMPOSE["services"]["redis"]["healthcheck"]["test"]
        assert kind == "CMD"
        command = [redis_program(program), "-p", str(self.redis_port), *words]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def is_healthy(self, service: str) -> bool:
        """By its image's own check."""
        return self.run(service, image_command(service, "HEALTHCHECK")).returncode == 0


@pytest.fixture
def containers(tmp_path: Path, label_studio: RunningLabelStudio, web_python: Path) -> Containers:
    return Containers(tmp_path, label_studio, web_python)


def test_the_compose_file_brings_up_what_the_doctor_finds_well(
    containers: Containers, create_project: ProjectCreator
) -> None:
    settings = containers.secrets
    built = [name for name, each in COMPOSE["services"].items() if "build" in each]
    with ExitStack() as stack:
        assert not containers.is_redis_healthy()
        stack.callback(containers.start_redis().stop, 10)
        wait_until(containers.is_redis_healthy, failure=containers.logs)
        running = {}
        for service in ("web", "worker"):
            assert not containers.is_healthy(service)
        for service in built:
            running[service] = containers.start(service)
            stack.callback(running[service].stop, 10)
        for service in ("web", "worker"):
            wait_until(partial(containers.is_healthy, service), failure=containers.logs)
        project = create_project(LABEL_CONFIG)
        containers.label_studio.admin.connect_backend(
            project,
            f"http://127.0.0.1:{containers.web_port}/{settings['SELF1E_WEBHOOK_SECRET']}",
            basic_auth=(settings["BASIC_AUTH_USER"], settings["BASIC_AUTH_PASS"]),
        )
        doctor = [sys.executable, *containers.here(DOCTOR).split()]
        wait_until(
            lambda: " is ready: compose-model" in containers.run("worker", doctor).stdout,
            failure=containers.logs,
        )
        found = containers.run("worker", doctor)
        assert found.returncode == 0, found.stdout
        # It may well say that there is little room on this machine's disk.
        others = re.findall(r"^(?:warning|problem) +(?!data directory:).*", found.stdout, re.M)
        assert others == []
        assert f"ok       project {project}: its webhook is there" in found.stdout
        assert "ok       private addresses: " in found.stdout
        assert [running[service].wait(0) for service in built] == [None] * len(built)
        for service in built:  # not by SIGKILL; uvicorn hands on the signal that stopped it
            assert running[service].stop(STOP_SECONDS) in {0, 128 + signal.SIGTERM}
