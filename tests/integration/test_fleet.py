"""Two web processes and three workers that share nothing but one redis: as one backend.

Each process has a data directory and a copy of the model of its own, as on a machine of its own.
"""

import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import torch

from backend.job_history import job_totals
from backend.queue import JobQueue
from backend.redis_server import redis_url
from backend.service_process import free_port
from backend.settings import Settings
from backend.worker_board import read_workers
from tests.contract.scene import scene
from tests.tiny_model import write_tiny_model
from tests.waiting import wait_until
from tests.web_server import Reply, Request, web_server

pytestmark = pytest.mark.timeout(300)

WORKERS = 3
COLOURS = [sys.executable, "-m", "tests.contract.colour_worker"]
CONFIG = """\
<View>
  <Image name="image" value="$image"/>
  <TextArea name="prompt" toName="image"/>
  <BrushLabels name="mask" toName="image"><Label value="blue"/></BrushLabels>
</View>"""


class Images:
    """A server of the scene at every path; those under /held/ keep a worker until released."""

    def __init__(self) -> None:
        buffer = io.BytesIO()
        scene().save(buffer, "PNG")
        self._content = buffer.getvalue()
        self._released = threading.Event()
        self._fetched: list[str] = []
        self.url = ""

    @contextmanager
    def serve(self) -> Iterator["Images"]:
        with web_server(self._answer) as server:
            self.url = server.url
            yield self
            self.release()

    def release(self) -> None:
        self._released.set()

    def fetches(self, path: str) -> int:
        """How often workers began to fetch it."""
        return self._fetched.count(path)

    def _answer(self, request: Request) -> Reply:
        self._fetched.append(request.target)
        if request.target.startswith("/held/"):
            self._released.wait()
        return Reply(body=self._content)


@dataclass(frozen=True)
class Web:
    """A web process, asked as Label Studio asks."""

    process: "subprocess.Popen[bytes]"
    url: str

    def get(self, path: str) -> Any:
        return requests.get(self.url + path, timeout=10).json()

    def ask(self, image_url: str, prompt: str) -> Any:
        """The item that an annotator's prompt gets."""
        text = {"from_name": "prompt", "type": "textarea", "value": {"text": [prompt]}}
        (item,) = self._predict([image_url], {"result": [text]})
        return item

    def retrieve(self, image_urls: Sequence[str]) -> list[Any]:
        """The items of a batch."""
        return self._predict(image_urls, None)

    def _predict(self, image_urls: Sequence[str], context: Any) -> list[Any]:
        tasks = [{"id": number, "data": {"image": url}} for number, url in enumerate(image_urls)]
        body = {
            "tasks": tasks,
            "project": "4.1795344895",
            "label_config": CONFIG,
            "params": {"context": context},
        }
        reply = requests.post(f"{self.url}/predict", json=body, timeout=100)
        assert reply.status_code == 200, reply.text
        return list(reply.json()["results"])


class Fleet:
    """Starts processes on machines of their own."""

    def __init__(self, directory: Path, model: Path, redis: str) -> None:
        self._directory = directory
        self._model = model
        self._redis = redis
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, command: Sequence[str], **settings: str) -> "subprocess.Popen[bytes]":
        machine = self._directory / f"machine-{len(self._processes)}"
        shutil.copytree(self._model, machine / self._model.name)
        environment = {
            **os.environ,
            "REDIS_URL": self._redis,
            "SELF1E_DATA_DIR": str(machine / "data"),
            "SELF1E_MODEL": str(machine / self._model.name),
            "SELF1E_PRIVATE_IMAGE_HOSTS": "127.0.0.1",
            "SELF1E_BATCH_SIZE": "1",
            **settings,
        }
        self._processes.append(subprocess.Popen(command, env=environment))
        return self._processes[-1]

    def start_web(self) -> Web:
        port = free_port()
        process = self.start([sys.executable, "-m", "backend", "web"], PORT=str(port))
        return Web(process, f"http://127.0.0.1:{port}")

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def images() -> Iterator[Images]:
    with Images().serve() as images:
        yield images


@pytest.fixture
def start_fleet(
    tmp_path: Path, queue: JobQueue, settings: Settings
) -> Iterator[Callable[..., Fleet]]:
    """Gives `start(model directory) -> Fleet`, whose processes share the test's redis."""
    with ExitStack() as stack:

        def start(model: Path) -> Fleet:
            fleet = Fleet(tmp_path, model, redis_url(settings))
            stack.callback(fleet.stop)
            return fleet

        yield start


@pytest.fixture
def webs(tmp_path: Path, start_fleet: Callable[..., Fleet], queue: JobQueue) -> list[Web]:
    """Two web processes, once both know that three workers with the model of colours are ready."""
    model = tmp_path / "colours"
    model.mkdir()
    (model / "config.json").write_text("{}")
    fleet = start_fleet(model)
    for _ in range(WORKERS):
        fleet.start(COLOURS)
    webs = [fleet.start_web() for _ in range(2)]
    wait_until(lambda: ready_workers(queue) == WORKERS)
    for web in webs:
        wait_until(partial(knows_of_workers, web))
    return webs


def ready_workers(queue: JobQueue) -> int:
    return sum(worker.state == "ready" for worker in read_workers(queue))


def knows_of_workers(web: Web) -> bool:
    try:
        return bool(web.get("/health")["worker"] == "ready")
    except requests.RequestException:
        return False


def test_the_same_prompt_to_both_webs_is_one_job_with_the_same_regions(
    webs: list[Web], images: Images, queue: JobQueue
) -> None:
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(web.ask, f"{images.url}/held/1.png", "the blue disc") for web in webs]
        wait_until(lambda: all(len(web.get("/jobs")["running"]) == 1 for web in webs))
        images.release()
        first, second = (each.result() for each in asked)
    assert first == second
    (region,) = first["result"]
    assert region["value"]["brushlabels"] == ["blue"]
    assert first["model_version"].startswith("colours-")
    assert webs[1].ask(f"{images.url}/held/1.png", "the blue disc") == first
    assert images.fetches("/held/1.png") == 1
    wait_until(lambda: job_totals(queue)["interactive"].finished == 1)


def test_a_batch_through_one_web_uses_the_prompt_that_the_other_was_asked_last(
    webs: list[Web], images: Images
) -> None:
    first, second = webs
    assert first.ask(f"{images.url}/1.png", "the red square")["result"]
    items = second.retrieve([f"{images.url}/{number}.png" for number in range(4)])
    prompts = {region["meta"]["prompt"] for item in items for region in item["result"]}
    assert (len(items), prompts) == (4, {"the red square"})


def test_both_webs_tell_the_same_of_workers_jobs_and_versions(
    webs: list[Web], images: Images, queue: JobQueue
) -> None:
    first, second = webs
    for number, web in enumerate(webs):
        assert web.ask(f"{images.url}/{number}.png", "red")["result"]
    wait_until(lambda: job_totals(queue)["interactive"].finished == 2 and not queue.running())
    status = first.get("/jobs")
    assert second.get("/jobs") == status
    assert len(status["recent"]) == 2
    assert [worker["state"] for worker in status["workers"]] == ["ready"] * WORKERS
    assert {worker["model_version"] for worker in status["workers"]} == {status["model_version"]}
    assert (
        first.get("/versions") == second.get("/versions") == {"versions": [status["model_version"]]}
    )


def test_a_killed_web_and_a_killed_worker_lose_nothing(
    webs: list[Web], images: Images, queue: JobQueue
) -> None:
    doomed, surviving = webs
    paths = [f"/held/{number}.png" for number in range(12)]
    urls = [images.url + path for path in paths]
    with ThreadPoolExecutor() as pool:
        cut_off = pool.submit(doomed.retrieve, urls)
        wait_until(lambda: sum(map(images.fetches, paths)) == WORKERS)
        begun = [path for path in paths if images.fetches(path)]
        doomed.process.kill()
        with pytest.raises(requests.ConnectionError):
            cut_off.result()
        victim = queue.running().popitem()[1]
        kill(queue, victim)
        # Label Studio asks again, and gets to the web process that is left.
        answered = pool.submit(surviving.retrieve, urls)
        wait_until(lambda: victim not in queue.running().values())
        images.release()
        items = answered.result()
    assert [len(item["result"]) for item in items] == [1] * len(paths)
    fetches = {path: images.fetches(path) for path in paths}
    assert sorted(fetches.values()) == [1] * (len(paths) - 1) + [2]
    assert max(fetches, key=fetches.__getitem__) in begun
    wait_until(lambda: job_totals(queue)["batch"].finished == len(paths))


def kill(queue: JobQueue, worker_id: str) -> None:
    (pid,) = (worker.pid for worker in read_workers(queue) if worker.id == worker_id)
    os.kill(pid, 9)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_have_one_worker_each(
    tmp_path: Path, start_fleet: Callable[..., Fleet], images: Images, queue: JobQueue
) -> None:
    devices = ["cuda:0", "cuda:1"]
    fleet = start_fleet(write_tiny_model(tmp_path / "tiny"))
    for device in devices:
        command = [sys.executable, "-m", "backend", "worker", "--name", f"on-{device}"]
        fleet.start(command, SELF1E_DEVICE=device)
    web = fleet.start_web()
    wait_until(lambda: ready_workers(queue) == len(devices))
    wait_until(lambda: knows_of_workers(web))
    assert [worker.device for worker in read_workers(queue)] == devices
    urls = [f"{images.url}/held/{number}.png" for number in range(len(devices))]
    with ThreadPoolExecutor() as pool:
        answered = pool.submit(web.retrieve, urls)
        wait_until(lambda: len(set(queue.running().values())) == len(devices))
        images.release()
        assert all(answered.result())
