"""The recorded events against the web application: what they ask of a trainer."""

import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from backend import finetune_requests
from backend.app import create_app
from backend.finetune_requests import FinetuneRequests
from backend.queue import JobQueue
from backend.redis_server import embedded_redis
from backend.service_process import free_port
from backend.settings import Settings
from tests.contract.recorded import recorded_requests

EVENTS = {request.name: request.body for request in recorded_requests("/webhook")}
CREATED = EVENTS["brushlabels-webhook-annotation-created"]  # annotation 2 of project 3
UPDATED = EVENTS["brushlabels-webhook-annotation-updated"]  # the same one
CREATED_TWO = EVENTS["brushlabels-webhook-annotations-created"]  # 3 and 4 of project 3
DELETED = EVENTS["brushlabels-webhook-annotations-deleted"]  # annotation 2
START = EVENTS["brushlabels-webhook-start-training"]
OTHER_PROJECT = EVENTS["brush-labels-webhook-annotation-created"]  # annotation 5 of project 4
PROJECT = 3


class Service:
    """The application, which asks for a training after three annotations."""

    def __init__(self, client: TestClient, requests: FinetuneRequests) -> None:
        self._client = client
        self.requests = requests

    def send(self, *events: Any) -> None:
        for event in events:
            assert self._client.post("/webhook", json=event).json() == {"status": "ok"}

    def asked_for(self) -> int | None:
        return self.requests.take("trainer", 0)


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    data_dir = Path(tempfile.mkdtemp(prefix="self1e-"))
    with embedded_redis(data_dir):
        yield Settings.model_validate(
            {"data_dir": data_dir, "redis_url": "", "webhook_secret": "", "finetune_after": 3}
        )
    shutil.rmtree(data_dir)


@pytest.fixture
def service(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(finetune_requests, "DEBOUNCE_SECONDS", 0.0)
    queue = JobQueue.from_settings(settings)
    queue.redis.flushall()
    with TestClient(create_app(settings, queue)) as client:
        yield Service(client, FinetuneRequests(queue.redis))
    queue.close()


def test_start_training_asks_now(service: Service) -> None:
    service.send(START, START)
    assert service.asked_for() == PROJECT
    service.requests.done(PROJECT, "trainer")
    assert service.asked_for() is None


def test_accepted_annotations_ask_once_they_are_enough(service: Service) -> None:
    service.send(CREATED, UPDATED, OTHER_PROJECT)
    assert service.asked_for() is None
    service.send(CREATED_TWO)
    assert service.asked_for() == PROJECT


def test_deleted_annotations_do_not_count(service: Service) -> None:
    service.send(CREATED, DELETED, CREATED_TWO)
    assert service.asked_for() is None


@pytest.mark.parametrize("change", [{"was_cancelled": True}, {"result": []}, {"result": None}])
def test_cancelled_and_empty_annotations_do_not_count(
    service: Service, change: dict[str, Any]
) -> None:
    skipped = CREATED | {"annotation": CREATED["annotation"] | change}
    service.send(skipped, CREATED_TWO)
    assert service.asked_for() is None
    service.send(CREATED)
    assert service.asked_for() == PROJECT


def test_an_annotation_that_is_cancelled_later_does_not_count(service: Service) -> None:
    cancelled = UPDATED | {"annotation": UPDATED["annotation"] | {"was_cancelled": True}}
    service.send(CREATED, cancelled, CREATED_TWO)
    assert service.asked_for() is None


def test_other_events_ask_nothing(service: Service) -> None:
    other = EVENTS["brushlabels-webhook-project-updated"]
    elsewhere = {"action": "START_TRAINING"}  # of no project
    tasks = CREATED | {"action": "TASKS_CREATED"}
    service.send(other, elsewhere, *[tasks] * 3, CREATED_TWO)
    assert service.asked_for() is None


def test_without_the_setting_only_start_training_asks(settings: Settings) -> None:
    queue = JobQueue.from_settings(settings)
    queue.redis.flushall()
    off = settings.model_copy(update={"finetune_after": 0})
    with TestClient(create_app(off, queue)) as client:
        service = Service(client, FinetuneRequests(queue.redis))
        service.send(CREATED, CREATED_TWO, DELETED)
        assert queue.redis.keys("self1e:finetune:*") == []
        service.send(START)
        assert service.asked_for() == PROJECT
    queue.close()


def test_an_event_that_redis_cannot_take_is_acknowledged_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = Settings.model_validate(
        {"redis_url": "unix:///nowhere/redis.sock", "webhook_secret": "", "finetune_after": 1}
    )
    caplog.set_level(logging.INFO, "backend")
    queue = JobQueue.from_settings(settings)
    with TestClient(create_app(settings, queue)) as client:
        Service(client, FinetuneRequests(queue.redis)).send(CREATED)
    queue.close()
    (lost,) = [record for record in caplog.records if record.message == "event lost"]
    assert lost.__dict__["fields"]["action"] == "ANNOTATION_CREATED"
    assert lost.__dict__["fields"]["project"] == PROJECT
    logged = json.dumps([str(record.__dict__) for record in caplog.records])
    assert "red square" not in logged


def test_a_redis_that_hangs_does_not_keep_the_annotator_waiting(log_dir: Path) -> None:
    """Label Studio waits for one second, inside the annotator's Submit."""
    port = free_port()
    with socket.socket() as silent:  # accepts connections, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        environment = {
            name: value
            for name, value in os.environ.items()
            if not re.match("SELF1E_|LABEL_STUDIO_|BASIC_AUTH_", name)
        } | {
            "REDIS_URL": f"redis://127.0.0.1:{silent.getsockname()[1]}/0",
            "PORT": str(port),
            "SELF1E_FINETUNE_AFTER": "1",
        }
        with (log_dir / "web-without-redis.log").open("wb") as log:
            web = subprocess.Popen(
                [sys.executable, "-m", "backend", "web"], env=environment, stdout=log, stderr=log
            )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
                wait_until_up(client)
                slowest = 0.0
                for event in [START, CREATED, UPDATED, CREATED_TWO, DELETED] * 2:
                    start = time.monotonic()
                    assert client.post("/webhook", json=event).status_code == 200
                    slowest = max(slowest, time.monotonic() - start)
            assert slowest < 1
        finally:
            web.kill()
            web.wait()


def wait_until_up(client: httpx.Client) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("The web process does not start.")
