"""Two processes of `accelerate launch` that fine-tune one real (tiny) model."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from backend.version_store import VersionStore
from backend.versions import model_version
from tests.annotated_export import write_export
from tests.conftest import ROOT, environment_without_settings
from tests.tiny_model import write_tiny_model

pytestmark = pytest.mark.timeout(900)

LAUNCH = [
    sys.executable,
    *("-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"),
    *("--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no"),
    *("-m", "backend.finetune"),
]
CHECKPOINT_SECONDS = 300


class Group:
    """How a group learns from an export, with a model and a data directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.model = write_tiny_model(directory / "model")
        self.data_dir = directory / "data"
        export = write_export(directory, range(16))
        self._arguments = ["--export", str(export), "--image-root", str(directory / "images")]

    @property
    def served(self) -> str:
        return VersionStore(self.data_dir, self.base).current()

    @property
    def base(self) -> str:
        return model_version(str(self.model))

    def start(self, *arguments: str, command: list[str] = LAUNCH) -> "subprocess.Popen[str]":
        settings = {
            "SELF1E_MODEL": str(self.model),
            "SELF1E_DATA_DIR": str(self.data_dir),
            "SELF1E_DEVICE": "cpu",
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            [*command, *self._arguments, *arguments],
            cwd=ROOT,
            env=environment_without_settings() | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def group(tmp_path: Path) -> Group:
    return Group(tmp_path)


def test_two_processes_publish_one_version_and_say_so_once(group: Group) -> None:
    said, errors = (process := group.start("--margin", "1", "--steps", "40")).communicate()
    assert process.returncode == 0, errors
    assert group.served.startswith(f"{group.base}+")
    assert said.count(f"published: {group.served}") == 1
    assert said.count("16 samples of 16 tasks") == 1


def test_what_the_first_process_finds_ends_all(group: Group) -> None:
    said, errors = (process := group.start("--dry-run")).communicate()
    assert process.returncode == 0, errors
    assert said.count("16 samples of 16 tasks") == 1
    _, errors = (process := group.start("--replay", "none.jsonl")).communicate()
    assert process.returncode != 0
    assert errors.count("none.jsonl") >= 1


def test_a_killed_process_ends_the_group_and_one_alone_goes_on(group: Group) -> None:
    arguments = ("--margin", "1", "--steps", "60")
    process = group.start(*arguments)
    deadline = time.monotonic() + CHECKPOINT_SECONDS
    while not list(group.data_dir.glob("finetunes/*/checkpoints/checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (follower,) = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.environ().get("RANK") == "1"
    ]
    follower.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode != 0
    assert group.served == group.base
    alone = group.start(*arguments, command=[sys.executable, "-m", "backend.finetune"])
    said, errors = alone.communicate()
    assert alone.returncode == 0, errors
    assert f"published: {group.served}" in said
    assert group.served != group.base
