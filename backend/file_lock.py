"""A lock on a file, which the system takes back when its process ends, in whatever way."""

import fcntl
from typing import IO


def try_lock(file: IO[str]) -> bool:
    """Whether this open file is now the only one that holds the lock of its path."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
