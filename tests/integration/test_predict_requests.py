"""/predict from the HTTP request to a worker process and back; the model is scripted."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.queue import JobQueue
from backend.settings import Settings
from tests.integration.conftest import Hold, StartWorker
from tests.integration.scripted_worker import VERSION

pytestmark = pytest.mark.timeout(90)

CONFIG = """\
<View>
  <Image name="image" value="$image"/>
  <TextArea name="prompt" toName="image" value="$prompt"/>
  <BrushLabels name="mask" toName="image"><Label value="car"/></BrushLabels>
</View>"""


class Client:
    """Asks as Label Studio does."""

    def __init__(self, http: TestClient) -> None:
        self.http = http

    def predict(self, prompt: str) -> Any:
        """The item an annotator's prompt gets."""
        text = {"from_name": "prompt", "type": "textarea", "value": {"text": [prompt]}}
        task = {"id": 1, "data": {"image": "http://images.test/1.png"}}
        (item,) = self._post([task], {"result": [text]})
        return item

    def predict_batch(self, prompts: list[str]) -> list[Any]:
        """The items of tasks that have these prompts in their data."""
        tasks = [
            {"id": number, "data": {"image": f"http://images.test/{number}.png", "prompt": prompt}}
            for number, prompt in enumerate(prompts)
        ]
        return self._post(tasks, None)

    def _post(self, tasks: list[Any], context: Any) -> list[Any]:
        params = {"login": None, "password": None, "context": context}
        body = {"tasks": tasks, "project": "1.1", "label_config": CONFIG, "params": params}
        reply = self.http.post("/predict", json=body)
        assert reply.status_code == 200, reply.text
        results = reply.json()["results"]
        assert len(results) == len(tasks)
        return list(results)


@pytest.fixture
def client(queue: JobQueue, settings: Settings, start_worker: StartWorker) -> Iterator[Client]:
    start_worker()
    with TestClient(create_app(settings, queue)) as http:
        wait_until_ready(http)
        yield Client(http)


def wait_until_ready(http: TestClient) -> None:
    """/health answers from memory, which follows the workers every two seconds."""
    deadline = time.monotonic() + 30
    pause = threading.Event()
    while http.get("/health").json()["model_version"] != VERSION:
        assert time.monotonic() < deadline
        pause.wait(0.05)


def prediction(prompt: str) -> dict[str, Any]:
    return {"result": [{"id": prompt}], "score": 0.5, "model_version": VERSION}


def test_the_version_is_the_one_that_setup_names(client: Client) -> None:
    reply = client.http.post("/setup", json={"project": "1.1", "schema": CONFIG})
    assert client.predict("the red one")["model_version"] == reply.json()["model_version"]


def test_a_batch_gets_one_item_per_task_and_a_failed_one_is_empty(client: Client) -> None:
    items = client.predict_batch(["one", "fail", "three"])
    assert items == [prediction("one"), [], prediction("three")]


def test_a_task_without_an_image_costs_only_itself(client: Client) -> None:
    tasks = [
        {"id": 1, "data": {"prompt": "one"}},
        {"id": 2, "data": {"image": "x", "prompt": "two"}},
    ]
    body = {"tasks": tasks, "label_config": CONFIG, "params": {"context": None}}
    assert client.http.post("/predict", json=body).json()["results"] == [[], prediction("two")]


def test_a_context_without_a_prompt_asks_for_nothing(client: Client, runs_file: Path) -> None:
    assert client.predict(" ") == []
    assert runs_file.read_text() == ""


def test_no_tasks_get_no_items(client: Client) -> None:
    assert client.predict_batch([]) == []


def test_a_worker_killed_twice_leaves_an_empty_item(
    client: Client, start_worker: StartWorker, hold: Hold
) -> None:
    with ThreadPoolExecutor() as pool:
        item = pool.submit(client.predict, hold.prompt)
        for _ in range(2):
            os.kill(hold.wait_until_begun(), signal.SIGKILL)
            start_worker()
        assert item.result() == []
    assert client.predict("next") == prediction("next")


def test_a_batch_without_prompts_asks_what_any_web_process_was_asked_last(
    client: Client, settings: Settings, runs_file: Path
) -> None:
    other = JobQueue.from_settings(settings)
    with TestClient(create_app(settings, other)) as http:
        wait_until_ready(http)
        assert client.predict_batch([""]) == [prediction("car")]
        client.predict("the red one; the blue one")
        assert Client(http).predict_batch([""]) == [prediction("the red one")]
        assert Client(http).predict_batch(["mine"]) == [prediction("mine")]
    other.close()
    runs = runs_file.read_text().splitlines()
    assert runs == ["car", "the red one", "the red one", "mine"]


def test_health_answers_while_many_wait_for_the_model(client: Client, hold: Hold) -> None:
    with ThreadPoolExecutor(51) as pool:
        waiting = [pool.submit(client.predict, hold.prompt)]
        hold.wait_until_begun()
        waiting += [pool.submit(client.predict, f"prompt {number}") for number in range(50)]
        replies = [client.http.get("/health") for _ in range(20)]
        answered = sum(each.done() for each in waiting)
        hold.release()
    assert answered == 0
    assert {reply.status_code for reply in replies} == {200}
    assert all(each.result()["score"] for each in waiting)


def test_five_hundred_tasks_in_one_request_are_each_run_once(
    client: Client, runs_file: Path
) -> None:
    prompts = [f"number {number}" for number in range(500)]
    items = client.predict_batch(prompts)
    deadline = time.monotonic() + 60
    while [] in items:
        assert time.monotonic() < deadline
        items = client.predict_batch(prompts)
    assert items == [prediction(prompt) for prompt in prompts]
    assert sorted(runs_file.read_text().splitlines()) == sorted(prompts)


class TestShortPatience:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"predict_timeout": 0.5})

    def test_what_is_unfinished_is_empty_now_and_there_when_asked_again(
        self, client: Client, hold: Hold, runs_file: Path
    ) -> None:
        with ThreadPoolExecutor() as pool:
            items = pool.submit(client.predict_batch, ["one", hold.prompt, "three"])
            hold.wait_until_begun()
            assert items.result() == [prediction("one"), [], []]
            hold.release()
        settled = [prediction("one"), prediction(hold.prompt), prediction("three")]
        assert client.predict_batch(["one", hold.prompt, "three"]) == settled
        assert runs_file.read_text().splitlines() == ["one", hold.prompt, "three"]
