"""The status page, /jobs and /metrics with real workers on a real redis."""

import base64
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from backend.app import create_app
from backend.deliveries import BatchDeliveries, Delivery
from backend.job_history import JobRecord, recent_failures, recent_jobs, record_job
from backend.queue import JobQueue
from backend.settings import Settings
from backend.worker_board import (
    REMEMBERED_SECONDS,
    WorkerRecord,
    announced,
    publish_worker,
    read_workers,
)
from tests.integration.conftest import Hold, StartWorker, job
from tests.integration.scripted_worker import VERSION
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def client(settings: Settings, queue: JobQueue) -> Iterator[TestClient]:
    with TestClient(create_app(settings, queue)) as client:
        yield client


def metric(client: TestClient, name: str, **labels: str) -> float:
    text = client.get("/metrics").text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    pytest.fail(f"no {name} {labels} in:\n{text}")


def test_jobs_tells_of_workers_queues_and_running_jobs(
    client: TestClient, queue: JobQueue, start_worker: StartWorker, hold: Hold
) -> None:
    worker = start_worker()
    queue.put([job(hold.prompt), job("a"), job("b")], "batch")
    assert hold.wait_until_begun() == worker.pid
    status = client.get("/jobs").json()
    assert status["redis"] == "ok"
    (shown,) = status["workers"]
    assert shown["state"] == "ready"
    assert shown["model_version"] == VERSION
    assert shown["pid"] == worker.pid
    assert status["waiting"] == {"interactive": 0, "batch": 2}
    (running,) = status["running"]
    assert running["job"] == job(hold.prompt).id[:12]
    assert (running["queue"], running["worker"]) == ("batch", "worker")
    assert metric(client, "self1e_jobs_waiting", queue="batch") == 2
    assert metric(client, "self1e_jobs_running") == 1
    assert metric(client, "self1e_workers", state="ready") == 1
    page = client.get("/").text
    assert "0 interactive, 2 batch" in page
    assert VERSION in page
    hold.release()


def test_what_became_of_jobs_is_told_with_times_and_reasons(
    client: TestClient, queue: JobQueue, start_worker: StartWorker
) -> None:
    start_worker()
    signed = job("good", "https://user:word@images.test/1.png?signature=abc")
    jobs = [job("fail"), signed]
    queue.put(jobs, "interactive")
    queue.wait([each.id for each in jobs], 30)
    wait_until(lambda: len(recent_jobs(queue)) == 2, 30)
    status = client.get("/jobs").json()
    good, failed = status["recent"]
    assert status["failures"] == [failed]
    assert failed["status"] == "failed"
    assert failed["reason"] == "The prompt told me to fail."
    assert failed["prompts"] == ["fail"]
    assert good | {"waited_ms": 0, "ran_ms": 0, "ended_at": 0} == {
        "job": signed.id[:12],
        "queue": "interactive",
        "status": "finished",
        "prompts": ["good"],
        "image": "https://images.test/1.png",
        "task_id": None,
        "regions": 1,
        "reason": "",
        "waited_ms": 0,
        "ran_ms": 0,
        "worker": "worker",
        "ended_at": 0,
    }
    assert 0 <= good["ran_ms"] < 30_000
    assert good["ended_at"] == pytest.approx(time.time(), abs=60)
    for text in (client.get("/").text, client.get("/jobs").text):
        assert "signature" not in text
        assert "word" not in text
    counted = {
        status: metric(client, "self1e_jobs_total", queue="interactive", status=status)
        for status in ("finished", "failed")
    }
    assert counted == {"finished": 1, "failed": 1}
    assert metric(client, "self1e_job_seconds_count", queue="interactive") == 2
    assert metric(client, "self1e_job_seconds_bucket", queue="interactive", le="+Inf") == 2


def test_what_label_studio_still_has_to_get_is_counted(client: TestClient, queue: JobQueue) -> None:
    deliveries = [Delivery(task, "4.1", "v1", "job") for task in range(3)]
    request = BatchDeliveries(queue)
    request.hold(deliveries, 10)
    request.hand_over({deliveries[0]: "finished"})
    request.confirm()
    assert client.get("/jobs").json()["deliveries"] == 2
    assert metric(client, "self1e_deliveries_pending") == 2


def test_a_killed_worker_is_away_and_the_job_that_killed_two_is_a_failure(
    client: TestClient, queue: JobQueue, start_worker: StartWorker, hold: Hold
) -> None:
    queue.put([job(hold.prompt)], "batch")
    for _ in range(2):
        start_worker()
        os.kill(hold.wait_until_begun(), signal.SIGKILL)
    survivor = start_worker()
    wait_until(lambda: bool(recent_failures(queue)), 30)
    (failure,) = recent_failures(queue)
    assert failure.queue == "batch"
    assert "Two workers in a row died" in failure.reason

    def states() -> dict[int, str]:
        return {each["pid"]: each["state"] for each in client.get("/jobs").json()["workers"]}

    # Redis counts in whole seconds: the last of them may be missed a moment after its job.
    wait_until(lambda: sorted(states().values()) == ["away", "away", "ready"], 30)
    assert states()[survivor.pid] == "ready"
    assert metric(client, "self1e_workers", state="away") == 2


def test_a_worker_that_stops_in_order_is_not_missed(
    queue: JobQueue, start_worker: StartWorker
) -> None:
    worker = start_worker()
    wait_until(lambda: bool(read_workers(queue)), 30)
    worker.terminate()
    assert worker.wait(20) == 0
    assert read_workers(queue) == []


def test_a_worker_that_loads_says_so_until_it_has_loaded(queue: JobQueue) -> None:
    record = WorkerRecord.of_this_process("worker-1", "auto")
    with announced(queue, record):
        wait_until(lambda: bool(read_workers(queue)), 30)
        assert read_workers(queue) == [record]
        assert record.state == "loading"
        assert queue.serving() is None
    assert read_workers(queue) == []


def test_a_process_under_a_new_id_is_one_worker(queue: JobQueue) -> None:
    former = WorkerRecord.of_this_process("worker-1", "cpu", model_version="v1")
    now = WorkerRecord.of_this_process("worker-1", "cpu", model_version="v1")
    publish_worker(queue, former)
    queue.redis.expire(f"self1e:worker:{former.id}", REMEMBERED_SECONDS // 2)
    assert [each.state for each in read_workers(queue)] == ["away"]
    publish_worker(queue, now)
    assert read_workers(queue) == [now]


def test_what_is_kept_is_bounded(queue: JobQueue) -> None:
    for number in range(100):
        record_job(queue, JobRecord(str(number), "batch", "failed", ran_ms=400_000))
    assert [each.job for each in recent_jobs(queue)] == [str(n) for n in range(99, 69, -1)]
    assert len(recent_failures(queue)) == 20


def test_without_redis_all_pages_answer(settings: Settings) -> None:
    with TestClient(create_app(settings, JobQueue.from_settings(settings))) as client:
        status = client.get("/jobs").json()
        assert status["redis"] == "away"
        assert status["model_version"].startswith("demo-")
        assert "Redis does not answer" in client.get("/").text
        assert metric(client, "self1e_redis_up") == 0
        requests = metric(client, "self1e_http_requests_total", route="/jobs", status="200")
        assert requests == 1


def test_pages_are_guarded_by_basic_auth_and_served_under_the_secret(
    settings: Settings, queue: JobQueue
) -> None:
    changes: dict[str, Any] = {
        "basic_auth_user": "u",
        "basic_auth_pass": "p",
        "webhook_secret": "s3cret-word",
    }
    guarded = Settings.model_validate(settings.model_dump() | changes)
    right = {"Authorization": "Basic " + base64.b64encode(b"u:p").decode()}
    with TestClient(create_app(guarded, queue)) as client:
        for path in ("/", "/jobs", "/metrics", "/trials/" + "0" * 64, "/reports/" + "0" * 16):
            for prefix in ("", "/s3cret-word"):
                assert client.get(prefix + path).status_code == 401
                reply = client.get(prefix + path, headers=right)
                assert reply.status_code in {200, 404}
                assert "s3cret-word" not in reply.text
            assert client.get("/guess" + path, headers=right).status_code == 401
        assert client.post("/trials").status_code == 401
        assert json.loads(client.get("/health").text)["status"] == "UP"


def test_pages_carry_the_policy(client: TestClient) -> None:
    headers = client.get("/").headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
