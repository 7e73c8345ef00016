"""Batches of a real Label Studio that are not ready in time: every prediction arrives, once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from backend.deliveries import pending_deliveries
from backend.queue import JobQueue
from backend.service_process import free_port
from backend.settings import Settings
from tests.conftest import RunningLabelStudio
from tests.integration.conftest import Hold, StartWorker
from tests.integration.scripted_worker import VERSION
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

CONFIG = """\
<View>
  <Image name="image" value="$image"/>
  <TextArea name="prompt" toName="image" value="$prompt"/>
  <BrushLabels name="mask" toName="image"><Label value="car"/></BrushLabels>
</View>"""


class Project:
    """A project whose tasks bring their prompts, connected to the backend."""

    def __init__(self, server: RunningLabelStudio, backend_url: str) -> None:
        self._server = server
        self._id = server.admin.create_project("Deliveries", CONFIG)
        server.admin.connect_backend(self._id, backend_url)

    def add_tasks(self, prompts: list[str]) -> None:
        tasks = [
            {"data": {"image": f"http://images.test/{number}.png", "prompt": prompt}}
            for number, prompt in enumerate(prompts)
        ]
        self.call("POST", f"/api/projects/{self._id}/import", json=tasks)

    def retrieve(self) -> None:
        """What "Retrieve predictions" does with all tasks."""
        self.call(
            "POST",
            f"/api/dm/actions?id=retrieve_tasks_predictions&project={self._id}",
            json={"selectedItems": {"all": True, "excluded": []}},
        )

    def versions(self) -> list[list[str]]:
        """The versions of each task's predictions."""
        tasks = self._server.admin.tasks(self._id)
        return [[each["model_version"] for each in task["predictions"]] for task in tasks]

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        authorization = {"Authorization": f"Token {self._server.login.api_key}"}
        url = self._server.url + path
        reply = requests.request(method, url, headers=authorization, timeout=200, **arguments)
        reply.raise_for_status()
        return reply.json() if reply.content else None


class Web:
    """A web process that can be killed."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self.url = f"http://127.0.0.1:{environment['PORT']}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "backend", "web"]
        self.process = subprocess.Popen(command, env=os.environ | self._environment)
        wait_until(self._is_ready)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def _is_ready(self) -> bool:
        try:
            health = requests.get(f"{self.url}/health", timeout=1).json()
        except requests.RequestException:
            return False
        return bool(health["model_version"] == VERSION)


@pytest.fixture
def settings(settings: Settings, label_studio: RunningLabelStudio) -> Settings:
    changes = {
        "label_studio_url": label_studio.url,
        "label_studio_api_key": SecretStr(label_studio.login.api_key),
        "predict_timeout": 2,
    }
    return settings.model_copy(update=changes)


@pytest.fixture
def web(queue: JobQueue, settings: Settings, start_worker: StartWorker) -> Iterator[Web]:
    start_worker()
    web = Web(
        {
            "PORT": str(free_port()),
            "SELF1E_DATA_DIR": str(settings.data_dir),
            "SELF1E_MODEL": str(settings.data_dir / "no-model"),
            "SELF1E_PREDICT_TIMEOUT": str(settings.predict_timeout),
            "LABEL_STUDIO_URL": settings.label_studio_url,
            "LABEL_STUDIO_API_KEY": settings.label_studio_api_key.get_secret_value(),
        }
    )
    yield web
    web.stop()


@pytest.fixture
def project(label_studio: RunningLabelStudio, web: Web) -> Project:
    return Project(label_studio, web.url)


def test_what_is_not_ready_in_time_is_delivered_once(
    project: Project, queue: JobQueue, hold: Hold
) -> None:
    project.add_tasks(["one", hold.prompt, "three"])
    project.retrieve()
    assert project.versions() == [[VERSION], [], []]
    assert pending_deliveries(queue) == 2
    hold.wait_until_begun()
    hold.release()
    wait_until(lambda: all(project.versions()))
    wait_until(lambda: pending_deliveries(queue) == 0)
    project.retrieve()
    assert project.versions() == [[VERSION]] * 3


def test_tasks_asked_for_again_meanwhile_get_one_prediction(
    project: Project, queue: JobQueue, hold: Hold
) -> None:
    project.add_tasks([hold.prompt, "two", "three"])
    project.retrieve()
    assert project.versions() == [[], [], []]
    with ThreadPoolExecutor() as pool:
        again = [pool.submit(project.retrieve) for _ in range(3)]
        hold.wait_until_begun()
        hold.release()
        for each in again:
            each.result()
    wait_until(lambda: all(project.versions()))
    project.retrieve()
    assert project.versions() == [[VERSION]] * 3


def test_a_killed_workers_jobs_are_delivered_by_another(
    project: Project, hold: Hold, start_worker: StartWorker
) -> None:
    project.add_tasks([hold.prompt, "two"])
    project.retrieve()
    os.kill(hold.wait_until_begun(), signal.SIGKILL)
    start_worker()
    hold.wait_until_begun()
    hold.release()
    wait_until(lambda: all(project.versions()))
    assert project.versions() == [[VERSION]] * 2


class TestMorePatience:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"predict_timeout": 10})

    def test_what_a_killed_web_process_was_asked_is_delivered(
        self, project: Project, queue: JobQueue, hold: Hold, web: Web
    ) -> None:
        project.add_tasks(["one", hold.prompt, "three"])
        with ThreadPoolExecutor() as pool:
            retrieving = pool.submit(project.retrieve)
            hold.wait_until_begun()
            web.stop()
            retrieving.result()
        assert project.versions() == [[], [], []]
        hold.release()
        wait_until(lambda: all(project.versions()))
        wait_until(lambda: pending_deliveries(queue) == 0)
        assert project.versions() == [[VERSION]] * 3
