"""One training at a time per device: a lock in the data directory."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from backend.errors import TrainingRunsError
from backend.file_lock import try_lock


@contextlib.contextmanager
def training_lock(data_dir: Path, device: str) -> Iterator[None]:
    """Holds the lock of a device; it is free again when the process ends, however that ends.

    Args:
        data_dir: the backend's data directory.
        device: its name (`self1e.checkpoint.device_name`).

    Raises:
        TrainingRunsError: another process trains on it.
    """
    directory = data_dir / "finetunes"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f".{device.replace(':', '-')}.lock").open("a+") as file:
        if not try_lock(file):
            file.seek(0)
            raise TrainingRunsError(
                f"Another training runs on the device {device} (process {file.read().strip()}). "
                "Wait until it has ended, or stop it; it goes on where it was when started again."
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
