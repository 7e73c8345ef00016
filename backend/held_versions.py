"""The versions that a worker holds: the one that is served, and for a while the one before it.

A job says which version has to answer it. When another version comes to be served it is loaded
while jobs go on; jobs that were put in before still get the version they ask for. One that asks for
a version that is not held, because another worker changed earlier, has it loaded.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from backend.errors import BackendError
from backend.jobs import SegmentJob
from backend.log import log_event
from backend.prediction import TaskPredictor
from backend.repeating import repeating
from backend.version_store import VersionStore

logger = logging.getLogger(__name__)

Load = Callable[[str], TaskPredictor]

_LOOK_SECONDS = 1.0
_FORMER_SECONDS = 60.0


class HeldVersions:
    """Runs jobs on the versions they ask for."""

    def __init__(
        self, store: VersionStore, load: Load, *, former_seconds: float = _FORMER_SECONDS
    ) -> None:
        """Loads the version that is served.

        Args:
            store: the versions.
            load: makes the predictor of a version; may take seconds.
            former_seconds: how long a version that is no longer served is held after its last job.

        Raises:
            VersionError, CheckpointError: the served version cannot be loaded.
        """
        self._store = store
        self._load = load
        self._former_seconds = former_seconds
        # Only one thread loads; jobs that ask for what is held do not wait for it.
        self._loading = threading.Lock()
        self._held: dict[str, TaskPredictor] = {}
        self._used: dict[str, float] = {}
        self._current = store.current()
        self._hold(self._current)
        self._refused = ""

    @property
    def current(self) -> str:
        """The version that is served."""
        return self._current

    def run(self, job: SegmentJob) -> dict[str, Any]:
        """Runs a job on the version it asks for (`TaskPredictor.run`)."""
        return self._predictor(job.model_version).run(job)

    def prepare(self, jobs: Sequence[SegmentJob]) -> None:
        """Encodes the images of jobs that are about to be run (`TaskPredictor.prepare`)."""
        for version, predictor in dict(self._held).items():
            if asked := [job for job in jobs if job.model_version == version]:
                predictor.prepare(asked)

    @contextlib.contextmanager
    def follow(self) -> Iterator[None]:
        """Changes to the version that is served, in a thread, for as long as it is open."""
        with repeating(self.look, _LOOK_SECONDS, "versions"):
            yield

    def look(self) -> None:
        """Changes to the version that is served now; one that cannot be loaded changes nothing."""
        try:
            name = self._store.current()
            if name not in (self._current, self._refused):
                self._hold(name)
                log_event(logger, logging.INFO, "version changed", before=self._current, now=name)
                self._current, self._refused = name, ""
        except Exception as error:  # noqa: BLE001  # whatever is wrong with it, the former one works
            log_event(logger, logging.ERROR, "version not loaded", detail=error)
            with contextlib.suppress(BackendError):
                self._refused = self._store.current()
        self._let_go()

    def _predictor(self, name: str) -> TaskPredictor:
        held = self._held.get(name)
        if held is None and name in self._store.names():
            held = self._hold(name)
        self._used[name] = time.monotonic()
        # One that nobody knows is refused by name.
        return held or self._held[self._current]

    def _hold(self, name: str) -> TaskPredictor:
        with self._loading:
            held = self._held.get(name)
            if held is None:
                held = self._load(name)
                self._used[name] = time.monotonic()
                self._held[name] = held
        return held

    def _let_go(self) -> None:
        """Frees the memory of what nobody has asked for in a while."""
        now = time.monotonic()
        for name in list(self._held):
            unused = now - self._used.get(name, 0) > self._former_seconds
            if name != self._current and unused:
                del self._held[name]
