"""A real worker process whose model does what the prompt says; run as `python -m`.

    "hold DIRECTORY"  writes its process id to the pipe DIRECTORY/began, then waits for a line in
                      the pipe DIRECTORY/release
    "fail"            raises
    anything else     answers at once

Each run adds a line with the prompt to the file named by the argument, and jobs that were taken
together add one "together" with the prompts of all before that.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backend.delivery import delivering
from backend.errors import PredictionFailedError
from backend.jobs import SegmentJob
from backend.log import configure_logging
from backend.queue import JobQueue
from backend.queue_worker import run_worker
from backend.settings import Settings

VERSION = "scripted-1"


def main() -> None:
    settings = Settings()
    configure_logging(settings)
    runs = Path(sys.argv[1])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def perform(job: SegmentJob) -> dict[str, Any]:
        prompt = job.prompts[0].text
        with runs.open("a") as file:
            file.write(f"{prompt}\n")
        if prompt == "fail":
            raise PredictionFailedError("The prompt told me to fail.")
        command, _, directory = prompt.partition(" ")
        if command == "hold":
            Path(directory, "began").write_text(f"{os.getpid()}\n")
            Path(directory, "release").read_text()
        return {"result": [{"id": prompt}], "score": 0.5, "model_version": VERSION}

    def prepare(jobs: Sequence[SegmentJob]) -> None:
        with runs.open("a") as file:
            file.write(f"together {[job.prompts[0].text for job in jobs]}\n")

    queue = JobQueue.from_settings(settings)
    with delivering(queue, settings):
        run_worker(
            queue,
            perform,
            VERSION,
            stop,
            batch_size=settings.batch_size or 1,
            prepare=prepare,
        )


if __name__ == "__main__":
    main()
