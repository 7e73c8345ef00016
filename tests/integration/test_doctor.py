"""The doctor, on a real redis and a server that answers as Label Studio 1.23 does."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from backend.__main__ import main
from backend.doctor import run_doctor
from backend.findings import Check, Finding, findings_of
from backend.queue import JobQueue
from backend.settings import Settings
from backend.versions import model_version
from backend.worker_board import WorkerRecord, publish_worker
from tests.backend.test_label_studio_files import LEGACY_KEY, jwt
from tests.tiny_model import write_tiny_model
from tests.web_server import Reply, Request, WebServer, web_server

pytestmark = [
    pytest.mark.timeout(90),
    # The SDK's exchange of a personal access token uses it.
    pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated"),
]

BACKEND_URL = "http://backend.test:9090"
SECRET = "s3cret-word"


@dataclass
class LabelStudio:
    """What a Label Studio answers that has one project; tests change its fields."""

    version: str = "1.23.2"
    bans_private_addresses: bool = False
    serves_local_files: bool = True
    is_key_good: bool = True
    backend: dict[str, Any] = field(
        default_factory=lambda: {
            "url": BACKEND_URL,
            "state": "CO",
            "is_interactive": True,
            "model_version": "other-1",
        }
    )
    webhooks: list[dict[str, Any]] = field(
        default_factory=lambda: [{"url": f"{BACKEND_URL}/webhook", "is_active": True}]
    )

    def answer(self, request: Request) -> Reply:
        target = urlsplit(request.target)
        if target.path == "/api/version/":
            return reply({"label-studio-os-package": {"version": self.version}})
        if target.path == "/api/token/refresh/":
            return reply({"access": jwt("access", 300)})
        if not self.is_key_good or not request.headers.get("Authorization"):
            return Reply(401)
        if target.path == "/data/local-files/":
            return Reply(404 if self.serves_local_files else 403)
        if request.method == "POST":
            return self._refuse_backend(request)
        project = parse_qs(target.query).get("project")
        if target.path in {"/api/ml", "/api/webhooks/"}:
            assert project == ["7"]
        answers: dict[str, Any] = {
            "/api/current-user/whoami": {"id": 1},
            "/api/projects": {"count": 1, "results": [{"id": 7}]},
            "/api/ml": [self.backend],
            "/api/webhooks/": self.webhooks,
        }
        return reply(answers[target.path])

    def _refuse_backend(self, request: Request) -> Reply:
        assert request.target == "/api/ml"
        assert json.loads(request.body) == {"url": BACKEND_URL}  # no project: never a row
        if self.bans_private_addresses:
            detail = "URL resolves to a reserved network address (block: 127.0.0.0/8)"
            return reply({"detail": detail}, 403)
        return reply({"validation_errors": {"project": ["This field is required."]}}, 400)


def reply(content: Any, status: int = 200) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(content).encode())


@pytest.fixture
def label_studio() -> LabelStudio:
    return LabelStudio()


@pytest.fixture
def server(label_studio: LabelStudio) -> Iterator[WebServer]:
    with web_server(label_studio.answer) as server:
        yield server


@pytest.fixture
def settings(settings: Settings, server: WebServer) -> Settings:
    """Of a backend for which a worker is ready, see `ready`."""
    changes = {"label_studio_url": server.url, "label_studio_api_key": SecretStr(LEGACY_KEY)}
    return settings.model_copy(update=changes)


@pytest.fixture
def ready(settings: Settings, queue: JobQueue) -> None:
    version = model_version(settings.model)
    publish_worker(queue, WorkerRecord.of_this_process("worker-1", "cpu", model_version=version))


def examine(settings: Settings) -> tuple[int, str]:
    """The doctor's exit code and words."""
    lines: list[str] = []
    code = run_doctor(settings, backend_url=BACKEND_URL, say=lines.append)
    text = "\n".join(lines)
    assert LEGACY_KEY not in text
    assert SECRET not in text
    return code, text


@pytest.mark.usefixtures("ready")
def test_all_is_well(settings: Settings, server: WebServer) -> None:
    code, text = examine(settings)
    assert code == 0
    assert "problem" not in text
    for line in (
        "redis: the embedded one answers",
        "is ready: demo-",
        "is loaded by a worker",
        "is writable",
        "version 1.23.2 answers",
        "legacy token works",
        "Label Studio does not ban http://backend.test:9090",
        "Label Studio reaches this backend",
        "its webhook is there",
    ):
        assert line in text
    assert [each.method for each in server.requests].count("POST") == 1


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("changes", "code", "line"),
    [
        ({"version": "1.20.0"}, 0, "made for Label Studio 1.23"),
        ({"bans_private_addresses": True}, 1, "USE_DEFAULT_BANNED_SUBNETS=false"),
        ({"serves_local_files": False}, 0, "Label Studio does not serve them"),
        ({"is_key_good": False}, 1, "legacy token is refused (401)"),
        ({"webhooks": []}, 0, "no active webhook"),
        (
            {"webhooks": [{"url": f"{BACKEND_URL}/webhook", "is_active": False}]},
            0,
            "no active webhook",
        ),
        ({"backend": {"url": "http://other.test:1"}}, 0, "no project that this key sees uses"),
        ({"backend": {"url": BACKEND_URL, "state": "DI"}}, 1, "Label Studio has trouble"),
        ({"backend": {"url": BACKEND_URL, "state": "CO"}}, 0, "Interactive preannotations is off"),
        ({"backend": {}}, 0, "answer is not understood"),
    ],
)
def test_what_is_wrong_in_label_studio_is_said(
    settings: Settings, label_studio: LabelStudio, changes: dict[str, Any], code: int, line: str
) -> None:
    for name, value in changes.items():
        setattr(label_studio, name, value)
    found, text = examine(settings)
    assert line in text
    assert found == code


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("changes", "code", "line"),
    [
        ({"label_studio_url": ""}, 0, "no address is set"),
        ({"label_studio_url": "http://127.0.0.1:1"}, 1, "does not answer as Label Studio does"),
        ({"label_studio_api_key": SecretStr("")}, 0, "none is set"),
        ({"label_studio_api_key": SecretStr(jwt("access", 300))}, 1, "it is an access token"),
        (
            {"label_studio_api_key": SecretStr(jwt("refresh", 10 * 86_400))},
            0,
            "personal access token works, expires in 10 days",
        ),
        ({"label_studio_api_key": SecretStr(jwt("refresh", -5))}, 1, "personal access token: "),
        ({"local_files_root": "/nowhere/at/all"}, 1, "/nowhere/at/all is no directory"),
        ({"local_files_root": "/"}, 0, "are read from /"),
        ({"data_dir": Path("/proc/self1e")}, 1, "data directory: /proc/self1e"),
        ({"host": "0.0.0.0"}, 0, "anybody who reaches 0.0.0.0:9090 may use"),
        ({"webhook_secret": SecretStr(SECRET)}, 0, "lacks the webhook secret"),
        ({"port": 1}, 0, "does not answer at http://127.0.0.1:1"),
    ],
)
def test_what_is_wrong_in_the_settings_is_said(
    settings: Settings, queue: JobQueue, changes: dict[str, Any], code: int, line: str
) -> None:
    url = f"unix://{settings.data_dir}/redis/redis.sock"  # whatever data_dir becomes
    changed = settings.model_copy(update={"redis_url": SecretStr(url)} | changes)
    found, text = examine(changed)
    assert line in text
    assert found == code, text


@pytest.mark.usefixtures("ready")
def test_a_connection_with_the_secret_is_well_and_not_shown(
    settings: Settings, label_studio: LabelStudio
) -> None:
    url = f"{BACKEND_URL}/{SECRET}"
    label_studio.backend |= {"url": url, "state": "DI", "error_message": f"{url}/health is away"}
    label_studio.webhooks = [{"url": f"{url}/webhook"}]
    text = examine(settings.model_copy(update={"webhook_secret": SecretStr(SECRET)}))[1]
    assert "its webhook is there" in text
    assert "lacks the webhook secret" not in text
    assert f"{BACKEND_URL}/***/health is away" in text


def test_a_missing_model_and_worker_are_problems(
    settings: Settings, queue: JobQueue, tmp_path: Path
) -> None:
    for model in (str(tmp_path), "nobody/nothing", "nobody/nothing/folder", "nothing"):
        code, text = examine(settings.model_copy(update={"model": model}))
        assert code == 1
        assert "workers: none is ready" in text
        assert f"{model} is not on this machine" in text


@pytest.mark.timeout(300)  # torch is imported twice
def test_a_model_that_no_worker_has_loaded_is_loaded(
    settings: Settings, queue: JobQueue, tmp_path: Path
) -> None:
    tiny = write_tiny_model(tmp_path / "tiny")
    on_cpu = settings.model_copy(update={"model": str(tiny), "device": "cpu"})
    assert "loads, on cpu" in examine(on_cpu)[1]
    (tiny / "config.json").unlink()
    assert f"{tiny} does not load: " in examine(on_cpu)[1]


def test_a_worker_that_loads_is_waited_for(settings: Settings, queue: JobQueue) -> None:
    version = model_version(settings.model)
    publish_worker(queue, WorkerRecord.of_this_process("worker-1", "auto"))
    publish_worker(queue, WorkerRecord.of_this_process("w2", "cpu", model_version="old-1"))
    text = examine(settings.model_copy(update={"model": "nobody/nothing"}))[1]
    assert "worker-1 on" in text
    assert "is loading" in text
    assert "workers serve old-1, SELF1E_MODEL here is nothing" in text
    assert version not in text


def test_without_redis_the_doctor_goes_on(settings: Settings, tmp_path: Path) -> None:
    changed = settings.model_copy(
        update={"redis_url": SecretStr("redis://:pass-word@127.0.0.1:1/0"), "model": str(tmp_path)}
    )
    code, text = examine(changed)
    assert code == 1
    assert "Redis does not answer" in text
    assert "version 1.23.2 answers" in text
    assert "pass-word" not in text


def test_a_check_that_hangs_or_breaks_down_is_a_problem(server: WebServer) -> None:
    def hang() -> Iterator[Finding]:
        server.stopping.wait()
        yield Finding("ok", "slow", "at last")

    start = time.monotonic()
    (late,) = findings_of(Check("slow", hang, 0.1))
    assert time.monotonic() - start < 10
    assert (late.level, late.subject) == ("problem", "slow")
    assert "within 0.1 s" in late.detail
    (broken,) = findings_of(Check("broken", lambda: [Finding(*[])], 5))
    assert broken.level == "problem"
    assert "TypeError" in broken.detail


def test_the_command_line_takes_label_studio_and_key(
    settings: Settings,
    server: WebServer,
    ready: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in os.environ:
        if name.startswith(("SELF1E_", "LABEL_STUDIO_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SELF1E_DATA_DIR", str(settings.data_dir))
    given = ["--label-studio", server.url, "--api-key", LEGACY_KEY, "--backend-url", BACKEND_URL]
    assert main(["doctor", *given]) == 0
    text = capsys.readouterr().out
    assert "legacy token works" in text
    assert LEGACY_KEY not in text


@pytest.mark.parametrize(("name", "code"), [("worker-1", 0), ("worker-2", 1)])
def test_a_worker_says_by_its_exit_code_whether_it_runs(
    settings: Settings, ready: None, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    monkeypatch.setenv("SELF1E_DATA_DIR", str(settings.data_dir))
    assert main(["worker", "--name", name, "--check"]) == code


def test_without_web_process_and_redis_the_checks_fail(
    data_dir: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELF1E_DATA_DIR", str(data_dir))
    monkeypatch.setenv("PORT", str(port))
    assert main(["web", "--check"]) == 1
    assert main(["worker", "--check"]) == 1
