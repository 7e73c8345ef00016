"""The reports of fine-tunings on the web, without redis and without any training."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.queue import JobQueue
from backend.report_store import ReportStore, RunRecord
from backend.settings import Settings

RUN = "0123456789abcdef"
REPORT = "<!doctype html><style>p { color: red; }</style><p>the report</p>"


def client_of(data_dir: Path, **changes: str) -> TestClient:
    values = {"redis_url": "unix:///nowhere/redis.sock", "data_dir": data_dir} | changes
    settings = Settings.model_validate(values)
    return TestClient(create_app(settings, JobQueue.from_settings(settings)))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    ReportStore(directory).write(RunRecord(RUN, "demo-1", 1.0, reasons=("It is worse.",)), REPORT)
    (directory / "secret.html").write_text("secret")
    return directory


@pytest.fixture
def client(data_dir: Path) -> Iterator[TestClient]:
    with client_of(data_dir) as client:
        yield client


def test_the_status_page_leads_to_the_report(client: TestClient) -> None:
    page = client.get("/").text
    assert f'<a href="reports/{RUN}">{RUN}</a>' in page
    assert "refused" in page
    assert "It is worse." in page
    reply = client.get(f"/reports/{RUN}")
    assert reply.text == REPORT
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"


def test_a_report_is_served_with_a_policy_for_it(client: TestClient) -> None:
    headers = client.get(f"/reports/{RUN}").headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert policy != client.get("/").headers["Content-Security-Policy"]
    assert "script-src" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "name",
    [
        "fedcba9876543210",
        f"{RUN}.html",
        f"{RUN}.json",
        "..%2Fsecret",
        "%2e%2e%2fsecret",
        "..%5Csecret",
        f"{RUN}%00",
        f"{RUN}%0A",
        "x" * 5000,
    ],
)
def test_anything_else_is_not_there(client: TestClient, name: str) -> None:
    reply = client.get(f"/reports/{name}")
    assert reply.status_code == 404
    assert "secret" not in reply.text


def test_reports_want_the_password_and_are_served_under_the_secret(data_dir: Path) -> None:
    settings = {"basic_auth_user": "u", "basic_auth_pass": "p", "webhook_secret": "s3cret-word"}
    with client_of(data_dir, **settings) as client:
        for path in (f"/reports/{RUN}", f"/s3cret-word/reports/{RUN}"):
            assert client.get(path).status_code == 401
            assert client.get(path, auth=("u", "p")).text == REPORT
        assert client.get(f"/guess/reports/{RUN}", auth=("u", "p")).status_code == 401
