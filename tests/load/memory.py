"""The memory of web process, worker and redis, sampled while they work."""

import os
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

import numpy as np

SAMPLE_SECONDS = 2.0
ROLES = {"web": "-m backend web", "worker": "-m backend worker", "redis": "redis-server"}
# Caches fill and libraries load in a process's first part.
_WARM_UP_SHARE = 1 / 3
MOST_GROWTH = 0.05
_LEAST_MINUTES = 2.0  # a line through fewer samples says little
# Redis keeps results for an hour, so it grows in a shorter run.
_FLAT_ROLES = ("web", "worker")


@dataclass(frozen=True)
class MemoryUse:
    """Of the longest-lived process of a role; memory is resident, in MiB.

    `slope` is that of the line through the samples after the warm-up, in MiB per minute.
    """

    role: str
    processes: int
    minutes: float
    first: float
    last: float
    highest: float
    slope: float

    @property
    def growth(self) -> float:
        """By what share of its memory it grew after the warm-up, along the line."""
        return self.slope * self.minutes * (1 - _WARM_UP_SHARE) / self.last

    @property
    def is_flat(self) -> bool | None:
        """Whether it does not grow; None where that is not claimed or not to be told."""
        if self.role not in _FLAT_ROLES or self.minutes < _LEAST_MINUTES:
            return None
        return self.growth <= MOST_GROWTH


class MemorySampler(AbstractContextManager["MemorySampler"]):
    """Samples the descendants of this process while the context is open."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._samples: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)

    def __enter__(self) -> "MemorySampler":
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def uses(self) -> list[MemoryUse]:
        """One per role."""
        return [
            _use(role, [each for (of, _), each in self._samples.items() if of == role])
            for role in ROLES
        ]

    def _sample(self) -> None:
        while True:
            now = time.monotonic()
            for role, pid, mebibytes in _resident():
                self._samples[role, pid].append((now, mebibytes))
            if self._ended.wait(SAMPLE_SECONDS):
                return


def _use(role: str, processes: Sequence[Sequence[tuple[float, float]]]) -> MemoryUse:
    seconds, mebibytes = np.array(max(processes, key=len)).T
    warm = int(len(seconds) * _WARM_UP_SHARE)
    slope = 0.0
    if len(seconds) - warm > 1:
        slope = float(np.polyfit(seconds[warm:] / 60, mebibytes[warm:], 1)[0])
    return MemoryUse(
        role,
        processes=len(processes),
        minutes=float(seconds[-1] - seconds[0]) / 60,
        first=float(mebibytes[0]),
        last=float(mebibytes[-1]),
        highest=float(mebibytes.max()),
        slope=slope,
    )


def _resident() -> list[tuple[str, int, float]]:
    """Role, process id and MiB of each process that we started, directly or not."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,rss=,args="], capture_output=True, check=True, text=True
    )
    parents: dict[int, int] = {}
    found = []
    for line in listed.stdout.splitlines():
        pid, parent, kibibytes, command = line.split(maxsplit=3)
        parents[int(pid)] = int(parent)
        for role, part in ROLES.items():
            # The shell that watches over a child process has the same words in its arguments.
            if part in command and not command.startswith("/bin/sh"):
                found.append((role, int(pid), int(kibibytes) / 1024))
    return [each for each in found if _descends(each[1], parents)]


def _descends(pid: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == os.getpid():
            return True
    return False
