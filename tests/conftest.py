"""The real servers that tests run against, each started by the first test that needs it."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from backend.label_studio_admin import LabelStudioAdmin
from backend.label_studio_server import LabelStudioLogin, server_command, server_url
from backend.service_process import ServiceCommand, ServiceProcess, free_port

ROOT = Path(__file__).parents[1]
LABEL_STUDIO_PROGRAM = ROOT / ".venv-label-studio" / "bin" / "label-studio"
SAMPLES = ROOT / "self1e" / "samples"
LABEL_STUDIO_START_SECONDS = 300.0  # its database is made the first time
BACKEND_START_SECONDS = 120.0  # a model is loaded

# As root Chromium runs only without its sandbox; the others keep it from calling out.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Names of settings that the developer's own environment may hold.
SETTING_VARIABLES = ("SELF1E_", "LABEL_STUDIO_", "REDIS_URL", "BASIC_AUTH_", "HOST", "PORT")

BackendStarter = Callable[..., "RunningBackend"]
ProjectCreator = Callable[..., int]


@dataclass(frozen=True)
class RunningLabelStudio:
    """A Label Studio of this test run."""

    url: str
    login: LabelStudioLogin
    admin: LabelStudioAdmin


@dataclass(frozen=True)
class RunningBackend:
    """A whole backend of this test run: redis, one worker and the web process."""

    url: str
    log_file: Path


@pytest.fixture(scope="session")
def log_dir() -> Path:
    """Where servers write; kept after the run, so that a failure can be looked into."""
    directory = ROOT / "build" / "test-logs"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def label_studio(
    tmp_path_factory: pytest.TempPathFactory, log_dir: Path
) -> Iterator[RunningLabelStudio]:
    """The one Label Studio of all tests, with an empty database; takes half a minute to start."""
    if not LABEL_STUDIO_PROGRAM.exists():
        pytest.fail("Label Studio is not installed for the tests: run `make label-studio`.")
    login = LabelStudioLogin.random()
    port = free_port()
    command = server_command(
        LABEL_STUDIO_PROGRAM,
        tmp_path_factory.mktemp("label-studio"),
        port,
        login,
        log_dir / "label-studio.log",
    )
    with ServiceProcess(command) as server:
        server.wait_until_ready(LABEL_STUDIO_START_SECONDS)
        url = server_url(port)
        yield RunningLabelStudio(url, login, LabelStudioAdmin(url, login.api_key))


@pytest.fixture
def create_project(
    label_studio: RunningLabelStudio, request: pytest.FixtureRequest
) -> ProjectCreator:
    """Gives `create(label_config, images=(), backend_url=None, *, title=None) -> project id`."""

    def create(
        label_config: str,
        images: tuple[Path, ...] = (),
        backend_url: str | None = None,
        *,
        title: str | None = None,
    ) -> int:
        admin = label_studio.admin
        project = admin.create_project(title or request.node.name[:50], label_config)
        if images:
            admin.upload_images(project, images)
        if backend_url is not None:
            admin.connect_backend(project, backend_url)
        return project

    return create


@pytest.fixture(scope="session")
def start_backend(
    tmp_path_factory: pytest.TempPathFactory, log_dir: Path
) -> Iterator[BackendStarter]:
    """Gives `start(model, **environment) -> RunningBackend`, `self1e-backend serve` on a free port.

    `model` is SELF1E_MODEL's value; `environment` holds further settings by variable name.
    """
    running: list[ServiceProcess] = []

    def start(model: str | Path, **environment: str) -> RunningBackend:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        log_file = log_dir / f"backend-{len(running) + 1}.log"
        settings = {
            "PORT": str(port),
            "SELF1E_MODEL": str(model),
            "SELF1E_DEVICE": "cpu",
            "SELF1E_DATA_DIR": str(tmp_path_factory.mktemp("backend")),
        }
        server = ServiceProcess(
            ServiceCommand(
                name="The backend",
                arguments=[sys.executable, "-m", "backend", "serve"],
                environment=environment_without_settings() | settings | environment,
                health_url=f"{url}/health",
                log_file=log_file,
                working_directory=ROOT,
                ready_health={"worker": "ready"},
            )
        )
        running.append(server)
        server.wait_until_ready(BACKEND_START_SECONDS)
        return RunningBackend(url, log_file)

    yield start
    for server in reversed(running):
        server.stop()


@pytest.fixture(scope="session")
def chromium_program() -> str:
    """Path of the Chromium that browser tests drive."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.fail("Browser tests need Chromium: `apt-get install chromium`.")
    return program


@pytest.fixture(scope="session")
def browser(chromium_program: str) -> Iterator[Browser]:
    """The one Chromium of this test run: Playwright runs only once in a thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_program, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


def environment_without_settings() -> dict[str, str]:
    """This process's environment, but for what a developer may have set of ours."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(SETTING_VARIABLES)
    }
