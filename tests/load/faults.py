"""What goes wrong in the middle of it. Each returns when the servers are left alone again."""

import sys
import time
from pathlib import Path

from backend.child_process import ChildProcess
from backend.finetune_exit import FinetuneExit
from tests.annotated_export import write_export
from tests.load.servers import ROOT, Backend, LabelStudio, full_disk

LABEL_STUDIO_DOWN_SECONDS = 30.0
REDIS_DOWN_SECONDS = 5.0
DISK_FULL_SECONDS = 20.0
_TAUGHT_PHOTOS = 24
_STOP_SECONDS = 30.0


def kill_worker(backend: Backend) -> None:
    """The supervisor starts another one."""
    backend.kill_worker()


def restart_redis(backend: Backend, seconds: float) -> None:
    """Kills redis and starts it again after a while."""
    backend.redis.kill(backend.queue)
    time.sleep(seconds)
    backend.redis.start()


def restart_label_studio(label_studio: LabelStudio, seconds: float) -> None:
    """Stops Label Studio and starts it again after a while; it takes its time to start."""
    label_studio.stop()
    time.sleep(seconds)
    label_studio.start()


def fill_disk(backend: Backend, seconds: float) -> None:
    """Leaves no byte on the data directory's disk for a while."""
    with full_disk(backend.data_dir):
        time.sleep(seconds)


def train(backend: Backend, directory: Path, seconds: float) -> None:
    """Fine-tunes on the device that serves, for so long or until it is done.

    Args:
        backend: whose queue the training makes room for.
        directory: for the photos it learns from, and for its own data and log.
        seconds: after which it is stopped.
    """
    export = write_export(directory / "annotated", range(_TAUGHT_PHOTOS))
    log = directory / "finetune.log"
    where = ["--export", str(export), "--image-root", str(export.parent / "images")]
    training = ChildProcess(
        [sys.executable, "-m", "backend.finetune", *where],
        cwd=ROOT,
        # Its files must not fill the backend's small disk.
        environment={**backend.environment, "SELF1E_DATA_DIR": str(directory / "training")},
        output=log,
    )
    code = training.wait(seconds)
    training.stop(_STOP_SECONDS)
    if code not in {None, FinetuneExit.PUBLISHED, FinetuneExit.REFUSED}:
        raise RuntimeError(f"The training ended with {code}:\n{log.read_text()}")
