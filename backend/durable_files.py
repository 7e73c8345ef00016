"""Files that are whole after a power cut: written, brought to the disk, then renamed by others."""

import os
from pathlib import Path


def write_durably(path: Path, text: str) -> None:
    """Writes a text file and waits until the disk has it."""
    path.write_text(text, encoding="utf-8")
    _sync(path, os.O_RDONLY)


def sync_directory(path: Path) -> None:
    """Waits until the disk has the names in a directory."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def sync_tree(directory: Path) -> None:
    """Waits until the disk has a directory with all that is in it."""
    for path in directory.rglob("*"):
        _sync(path, os.O_RDONLY)
    sync_directory(directory)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
