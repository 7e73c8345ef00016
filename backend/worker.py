"""A worker process: `python -m backend.worker`. Loads the model once, then performs jobs."""

import logging
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from backend.delivery import delivering
from backend.errors import QueueUnavailableError, VersionError
from backend.held_versions import HeldVersions
from backend.label_studio_files import LabelStudioFiles
from backend.log import configure_logging, log_event
from backend.prediction import Predictor, TaskPredictor
from backend.queue import JobQueue
from backend.queue_worker import run_worker
from backend.settings import Settings
from backend.thumbnails import keep_thumbnail
from backend.trial_worker import TrialPredictor, UploadsOr
from backend.version_store import VersionStore
from backend.versions import model_version
from backend.worker_board import WorkerRecord, announced

logger = logging.getLogger(__name__)


def run_model_worker(settings: Settings, name: str) -> int:
    """Runs a worker until SIGTERM or SIGINT.

    Args:
        settings: of this process.
        name: its name in the logs.

    Returns:
        The exit code: 1 if redis does not answer or the model cannot be loaded.
    """
    configure_logging(settings, name)
    queue = JobQueue.from_settings(settings)
    try:
        queue.ping()
    except QueueUnavailableError as error:
        log_event(logger, logging.ERROR, str(error))
        return 1
    # Loading torch takes seconds, which only workers pay, and only once all else is in order.
    from self1e.checkpoint import CheckpointError, load_predictor

    log_event(logger, logging.INFO, "loading model", model=settings.model, device=settings.device)
    try:
        with announced(queue, WorkerRecord.of_this_process(name, settings.device)):
            predictor = load_predictor(
                settings.model,
                device=settings.device,
                dtype=settings.dtype,
                max_tiles=settings.max_tiles,
            )
        serve_predictor(settings, queue, predictor, name=name, device=str(predictor.model.device))
    except (CheckpointError, VersionError) as error:
        log_event(logger, logging.ERROR, "model not loaded", detail=error)
        return 1
    return 0


def serve_predictor(
    settings: Settings,
    queue: JobQueue,
    predictor: Predictor,
    *,
    name: str = "worker",
    device: str = "",
) -> None:
    """Performs jobs with a loaded predictor until SIGTERM or SIGINT.

    The first signal lets the running job finish, a second one ends the process at once.

    Args:
        settings: of this process.
        queue: a queue that nothing else uses.
        predictor: the loaded model, from which trained versions are made.
        name: what people call this worker.
        device: what the model runs on, for people.

    Raises:
        VersionError, CheckpointError: the served version cannot be loaded.
    """
    stop = threading.Event()

    def request_stop(signum: int, _frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_DFL)
        stop.set()

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    images = UploadsOr(queue, LabelStudioFiles(settings))
    # Named after loading: only now is a model from the hub surely downloaded.
    store = VersionStore(settings.data_dir, model_version(settings.model))

    def load(version: str) -> TaskPredictor:
        adapter = store.adapter(version)
        adapted = predictor if adapter is None else _adapt(predictor, adapter)
        show = partial(keep_thumbnail, queue)
        return TaskPredictor.from_settings(settings, adapted, images, version, show)

    versions = HeldVersions(store, load)
    perform = TrialPredictor(versions, queue, max_megapixels=settings.max_image_megapixels).run
    log_event(logger, logging.INFO, "ready", version=versions.current, pid=os.getpid())
    with delivering(queue, settings), versions.follow():
        run_worker(
            queue,
            perform,
            lambda: versions.current,
            stop,
            name=name,
            device=device,
            batch_size=settings.batch_size or _default_batch_size(device),
            prepare=versions.prepare,
        )
    log_event(logger, logging.INFO, "stopped")


def _adapt(predictor: Any, adapter: Path) -> Predictor:
    from self1e.adapter import adapt

    return adapt(predictor, adapter)


def _default_batch_size(device: str) -> int:
    """A CPU takes as long for eight images at once as for one after the other."""
    return 8 if device.startswith("cuda") else 1


if __name__ == "__main__":
    from backend.__main__ import main

    sys.exit(main(["worker", *sys.argv[1:]]))
