"""Annotators, batches, faults and a training for some minutes; the figures as Markdown.

`python -m tests.load --minutes 5 --annotators 5 --tasks 200 --report docs/reliability.md`
Everything listens on loopback only and is stopped at the end, after Ctrl-C, too. The model is that
of SELF1E_MODEL. The exit code is 1 if anything was lost or doubled, or if the memory of the web
process or of the worker grew.
"""

import argparse
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType

import requests

from tests.load import faults
from tests.load.batches import LabelStudioProjects
from tests.load.report import RunDescription, report
from tests.load.servers import LABEL_STUDIO_PROGRAM, Backend, LabelStudio, backend, small_disk
from tests.load.stages import LoadResult, Stage, run_stages

_FIRST_STAGE_SHARE = 0.4
_FAULT_STAGE_SHARE = 0.15
_FAULT_BATCH_SHARE = 0.25
# A fault takes at most this part of its stage.
_FAULT_SHARE = 0.7
# Beyond the minutes: it begins to compute only when its process has loaded a model.
_TRAINING_STAGE_SHARE = 0.4
_TRAINING_SHARE = 0.9
_SETTLE_MINUTES = 10.0
_EMBEDDING_CACHE_MB = 64
_SHORTEST_MINUTES, _LONGEST_MINUTES = 0.2, 120.0


def main() -> int:
    """Runs everything, and returns the exit code."""
    arguments = _arguments()
    if not LABEL_STUDIO_PROGRAM.exists():
        sys.stderr.write("Label Studio is not installed: run `make label-studio`.\n")
        return 1
    signal.signal(signal.SIGTERM, _interrupt)
    load_before = os.getloadavg()[0]
    notes = list(arguments.note)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="self1e-load-")))
        can_be_full = stack.enter_context(small_disk(directory / "data"))
        if not can_be_full:
            notes.append("The full disk was not tried: to mount a small one takes root.")
        label_studio = LabelStudio(directory)
        stack.callback(label_studio.stop)
        login = label_studio.login
        running = stack.enter_context(
            backend(
                directory,
                label_studio.url,
                login.api_key,
                # Full after some dozen photos: what grows after that is no cache.
                SELF1E_EMBEDDING_CACHE_MB=str(_EMBEDDING_CACHE_MB),
            )
        )
        _say(f"Label Studio and the backend start; their logs are in {directory} ...")
        label_studio.wait_until_ready()
        running.wait_until_ready()
        version = requests.get(f"{running.url}/health", timeout=10).json()["model_version"]
        result = run_stages(
            running,
            LabelStudioProjects(label_studio.url, login.api_key, running.url),
            _stages(arguments, running, label_studio, directory, can_be_full=can_be_full),
            directory,
            annotators=arguments.annotators,
            settle_seconds=_SETTLE_MINUTES * 60,
            say=_say,
        )
    command = f"python -m tests.load {' '.join(sys.argv[1:])}".strip()
    run = RunDescription(command, version, arguments.annotators, load_before, notes)
    return _finish(result, report(result, run), arguments.report)


def _stages(
    arguments: argparse.Namespace,
    running: Backend,
    label_studio: LabelStudio,
    directory: Path,
    *,
    can_be_full: bool,
) -> list[Stage]:
    seconds = float(arguments.minutes) * 60 * _FAULT_STAGE_SHARE
    tasks = max(1, round(arguments.tasks * _FAULT_BATCH_SHARE))

    longest = seconds * _FAULT_SHARE
    redis_down = min(faults.REDIS_DOWN_SECONDS, longest)
    disk_full = min(faults.DISK_FULL_SECONDS, longest)
    label_studio_down = min(faults.LABEL_STUDIO_DOWN_SECONDS, longest)
    stages = [
        Stage("no fault", arguments.minutes * 60 * _FIRST_STAGE_SHARE, arguments.tasks),
        Stage("worker killed", seconds, tasks, partial(faults.kill_worker, running)),
        Stage("redis killed", seconds, tasks, partial(faults.restart_redis, running, redis_down)),
    ]
    if can_be_full:
        fill = partial(faults.fill_disk, running, disk_full)
        stages.append(Stage("disk full", seconds, tasks, fill))
    restart = partial(faults.restart_label_studio, label_studio, label_studio_down)
    training_seconds = float(arguments.minutes) * 60 * _TRAINING_STAGE_SHARE
    train = partial(faults.train, running, directory, training_seconds * _TRAINING_SHARE)
    return [
        *stages,
        Stage("Label Studio down", seconds, tasks, restart),
        Stage("training beside", training_seconds, tasks, train),
    ]


def _finish(result: LoadResult, text: str, file: Path | None) -> int:
    if file is not None:
        file.write_text(text)
    _say(text)
    return int(bool(result.lost or result.doubled or result.growing))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--minutes", type=_minutes, default=5.0)
    parser.add_argument("--annotators", type=int, choices=range(1, 51), default=5, metavar="N")
    parser.add_argument("--tasks", type=int, choices=range(4, 1001), default=200, metavar="N")
    parser.add_argument("--report", type=Path, help="file to write; without, only printed")
    parser.add_argument("--note", action="append", default=[], help="a line for the report")
    return parser.parse_args()


def _minutes(text: str) -> float:
    minutes = float(text)
    if not _SHORTEST_MINUTES <= minutes <= _LONGEST_MINUTES:
        raise argparse.ArgumentTypeError(f"{_SHORTEST_MINUTES} to {_LONGEST_MINUTES:.0f}")
    return minutes


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Stopped.")
