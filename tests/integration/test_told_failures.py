"""What an annotator is told of a failed prompt, from the HTTP request to a worker and back."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.config_command import labeling_config
from backend.queue import JobQueue
from backend.settings import Settings
from tests.integration.conftest import StartWorker
from tests.integration.test_predict_requests import wait_until_ready

pytestmark = pytest.mark.timeout(180)

CONFIG = labeling_config(["car"], status=True, parameters=True)


def ask(http: TestClient, prompt: str, *others: dict[str, Any], config: str = CONFIG) -> Any:
    text = {"from_name": "prompt", "type": "textarea", "value": {"text": [prompt]}}
    body = {
        "tasks": [{"id": 1, "data": {"image": "http://images.test/1.png"}}],
        "project": "1.1",
        "label_config": config,
        "params": {"context": {"result": [text, *others]}},
    }
    return http.post("/predict", json=body)


def told(reply: Any) -> str:
    assert reply.status_code == 200, reply.text
    (item,) = reply.json()["results"]
    (status,) = item["result"]
    assert (status["from_name"], status["type"]) == ("status", "textarea")
    return str(status["value"]["text"][0])


def test_failures_are_told_where_there_is_a_status(
    queue: JobQueue, settings: Settings, start_worker: StartWorker
) -> None:
    start_worker()
    too_high = {"from_name": "threshold", "type": "number", "value": {"number": 7}}
    with TestClient(create_app(settings, queue)) as http:
        wait_until_ready(http)
        assert told(ask(http, "fail")) == "The prompt told me to fail."
        many = ";".join(map(str, range(30)))
        assert told(ask(http, many)).startswith("30 prompts at once; the most is 20.")
        assert "from 0 to 1" in told(ask(http, "a car", too_high))
        assert ask(http, many, config=labeling_config(["car"])).status_code == 400


def test_an_outage_is_told_too(settings: Settings) -> None:
    nowhere = JobQueue("redis://127.0.0.1:1", job_timeout=10, result_ttl=10)
    with TestClient(create_app(settings, nowhere)) as http:
        assert "redis" in told(ask(http, "a car")).lower()
        assert ask(http, "a car", config=labeling_config(["car"])).status_code == 503
