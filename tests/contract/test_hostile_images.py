"""Hostile image files, from a web server through the queue to a worker process and back."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backend.child_process import ChildProcess
from backend.jobs import SegmentJob
from backend.label_config import MaskControl
from backend.prompts import LabelledPrompt
from backend.queue import JobOutcome, JobQueue
from backend.redis_server import embedded_redis
from backend.settings import Settings
from backend.versions import model_version
from tests.contract.hostile_images import readable, unreadable
from tests.contract.scene import scene_server
from tests.web_server import Reply, Request, web_server

READABLE, UNREADABLE = readable(), unreadable()


@dataclass
class Files:
    """Hostile files on a web server, and a worker that segments them."""

    url: str
    queue: JobQueue
    version: str

    def segment(self, urls: list[str]) -> list[JobOutcome]:
        control = MaskControl("mask", "image", "brushlabels")
        prompts = (LabelledPrompt("red", ""),)
        jobs = [SegmentJob(url, prompts, control, self.version) for url in urls]
        self.queue.put(jobs, "batch")
        outcomes = self.queue.wait([job.id for job in jobs], 120)
        return [outcomes[job.id] for job in jobs]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    model = tmp_path_factory.mktemp("model")
    (model / "config.json").write_text("{}")
    data_dir = tmp_path_factory.mktemp("data")
    environment = {
        **os.environ,
        "SELF1E_MODEL": str(model),
        "SELF1E_DATA_DIR": str(data_dir),
        "SELF1E_PRIVATE_IMAGE_HOSTS": "127.0.0.1",
    }
    contents = [*READABLE.values(), *(data for data, _ in UNREADABLE.values())]

    def answer(request: Request) -> Reply:
        # Whatever it is, it is called a PNG.
        number = int(Path(request.target).stem)
        return Reply(headers={"Content-Type": "image/png"}, body=contents[number])

    settings = Settings.model_validate({"model": str(model), "data_dir": data_dir, "redis_url": ""})
    with web_server(answer) as server, embedded_redis(data_dir):
        worker = ChildProcess(
            [sys.executable, "-m", "tests.contract.colour_worker"], environment=environment
        )
        queue = JobQueue.from_settings(settings)
        try:
            yield Files(server.url, queue, model_version(str(model)))
        finally:
            queue.close()
            worker.stop(10.0)


def test_each_file_is_read_or_refused_with_a_reason_and_the_worker_lives(files: Files) -> None:
    count = len(READABLE) + len(UNREADABLE)
    outcomes = files.segment([f"{files.url}/{number}.png" for number in range(count)])
    read, refused = outcomes[: len(READABLE)], outcomes[len(READABLE) :]
    for name, each in zip(READABLE, read, strict=True):
        assert each.status == "finished", (name, each.reason)
    for (name, (_, says)), each in zip(UNREADABLE.items(), refused, strict=True):
        assert each.status == "failed", name
        assert each.reason.startswith("backend.errors.ImageError: "), name
        assert says in each.reason, name
    with scene_server() as scene_url:
        (last,) = files.segment([f"{scene_url}/good.png"])
    assert last.status == "finished"
    assert last.result is not None
    assert last.result["result"][0]["original_width"] == 64
