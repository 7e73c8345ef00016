"""The trainer process and its manners: one training at a time, prompts first, nothing lost."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import pytest

from backend.errors import TrainingRunsError
from backend.finetune_lock import training_lock
from backend.finetune_requests import FinetuneRequests
from backend.prompts_first import PromptsFirst
from backend.queue import JobQueue
from backend.report_store import ReportStore
from backend.settings import Settings
from backend.version_store import VersionStore
from backend.versions import model_version
from tests.annotated_export import write_export
from tests.integration.conftest import Hold, StartWorker, job, read_until
from tests.tiny_model import write_tiny_model
from tests.web_server import Reply, Request, WebServer, web_server

pytestmark = pytest.mark.timeout(600)

LABEL_CONFIG = """<View>
  <Image name="image" value="$image"/>
  <TextArea name="prompt" toName="image"/>
  <BrushLabels name="mask" toName="image"><Label value="Square"/></BrushLabels>
</View>"""


class StartTrainer(Protocol):
    def __call__(self, **environment: str) -> "subprocess.Popen[str]": ...


@pytest.fixture
def start_trainer(settings: Settings) -> Iterator[StartTrainer]:
    """Starts trainers; without a Label Studio every training fails at once."""
    started: list[subprocess.Popen[str]] = []
    usual = {
        **os.environ,
        "SELF1E_DATA_DIR": str(settings.data_dir),
        "SELF1E_DEVICE": "cpu",
        "LABEL_STUDIO_URL": "",
    }

    def start(**environment: str) -> "subprocess.Popen[str]":
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "backend", "trainer"],
                env=usual | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_request_is_worked_on_once_and_a_failed_training_is_reported(
    queue: JobQueue, start_trainer: StartTrainer
) -> None:
    requests = FinetuneRequests(queue.redis)
    requests.request(7)
    requests.request(7)
    trainer = start_trainer()
    output = read_until(trainer, "training ended")
    assert "project=7" in output
    assert "code=1" in output
    assert "LABEL_STUDIO_URL" in output
    assert requests.take("another", 0) is None
    trainer.send_signal(signal.SIGTERM)
    assert "stopped" in trainer.communicate(timeout=60)[0]
    assert trainer.returncode == 0


def test_a_training_that_a_stop_interrupts_is_asked_for_again(
    queue: JobQueue, settings: Settings, start_trainer: StartTrainer
) -> None:
    requests = FinetuneRequests(queue.redis)
    requests.request(7)
    trainer = start_trainer()
    read_until(trainer, "training begins")
    trainer.send_signal(signal.SIGTERM)
    assert "training interrupted" in trainer.communicate(timeout=60)[0]
    assert requests.take("another", 5) == 7


@pytest.fixture
def label_studio(tmp_path: Path) -> Iterator[WebServer]:
    """Has one project, 7, with annotated photos of squares."""
    export = write_export(tmp_path, range(16))
    tasks = json.loads(export.read_text())

    def answer(request: Request) -> Reply:
        target = urlsplit(request.target)
        if target.path == "/api/projects/7":
            return Reply(body=json.dumps({"label_config": LABEL_CONFIG}).encode())
        if target.path == "/api/tasks":
            items = json.loads(parse_qs(target.query)["query"][0])["filters"]["items"]
            after = next(each["value"] for each in items if each["filter"].endswith(":id"))
            are_cancelled = any("cancelled" in each["filter"] for each in items)
            page = [] if are_cancelled else [task for task in tasks if task["id"] > after][:10]
            return Reply(body=json.dumps({"tasks": page}).encode())
        return Reply(body=(export.parent / "images" / Path(target.path).name).read_bytes())

    with web_server(answer) as server:
        yield server


def test_a_busy_device_is_tried_again_and_the_project_is_learned_from(
    queue: JobQueue,
    settings: Settings,
    start_trainer: StartTrainer,
    label_studio: WebServer,
    tmp_path: Path,
) -> None:
    model = write_tiny_model(tmp_path / "model")
    FinetuneRequests(queue.redis).request(7)
    with training_lock(settings.data_dir, "cpu"):
        trainer = start_trainer(
            SELF1E_MODEL=str(model),
            LABEL_STUDIO_URL=label_studio.url,
            LABEL_STUDIO_API_KEY="0123456789abcdef0123456789abcdef01234567",
        )
        read_until(trainer, "Another training runs on the device cpu")
    output = read_until(trainer, "training ended")
    ended = output.splitlines()[-1]
    assert "code=0" in ended or "code=3" in ended, output  # published or refused: it was judged
    (record,) = ReportStore(settings.data_dir).recent(10)
    store = VersionStore(settings.data_dir, model_version(str(model)))
    assert store.current() == (record.version or store.base)
    assert FinetuneRequests(queue.redis).take("another", 0) is None


def test_a_training_waits_while_an_annotator_waits_and_while_the_mask_is_made(
    queue: JobQueue, start_worker: StartWorker, hold: Hold
) -> None:
    pause = PromptsFirst(queue)
    pause()
    assert pause.waited < 5
    queue.put([job("batch job")], "batch")
    pause()  # a batch can wait as well as a training
    queue.put([job(hold.prompt)], "interactive")
    went_on = threading.Event()

    def step() -> None:
        pause()
        went_on.set()

    thread = threading.Thread(target=step)
    thread.start()
    assert not went_on.wait(1)
    start_worker()
    hold.wait_until_begun()
    assert queue.waiting()["interactive"] == 0
    assert not went_on.wait(1)
    hold.release()
    assert went_on.wait(60)
    thread.join()


def test_without_a_redis_a_training_waits_for_nobody(settings: Settings) -> None:
    pause = PromptsFirst(JobQueue.from_settings(settings))
    pause()
    start = time.monotonic()
    for _ in range(100):
        pause()
    assert time.monotonic() - start < 1


def test_the_lock_is_free_again_when_its_holder_was_killed(settings: Settings) -> None:
    hold_it = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from backend.finetune_lock import training_lock\n"
        "with training_lock(Path(sys.argv[1]), 'cpu'):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold_it, str(settings.data_dir)], stdout=subprocess.PIPE, text=True
    )
    read_until(holder, "held")
    with (
        pytest.raises(TrainingRunsError, match=f"process {holder.pid}"),
        training_lock(settings.data_dir, "cpu"),
    ):
        pass
    with training_lock(settings.data_dir, "cuda:1"):
        pass
    holder.kill()
    holder.communicate()
    with training_lock(settings.data_dir, "cpu"):
        pass
