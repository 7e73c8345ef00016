"""The reports of fine-tunings on disk, of refused ones too.

    <data_dir>/reports/<run>.html    the report
    <data_dir>/reports/<run>.json    what a list of runs shows of it

Each is written elsewhere, brought to the disk and renamed. The oldest are removed when there are
many. Never imports torch.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from backend.durable_files import sync_directory, write_durably

_RUN = re.compile(r"[0-9a-f]{16}")
_KEPT = 50
_NEW = ".new-"


@dataclass(frozen=True)
class RunRecord:
    """How a run ended. `version` is the published one, empty if none was.

    `ended_at` is in seconds since 1970. `reasons` say why it was refused, or what was overruled if
    it was published all the same.
    """

    run: str
    parent: str
    ended_at: float
    version: str = ""
    reasons: tuple[str, ...] = ()


_RECORD = TypeAdapter(RunRecord)


class ReportStore:
    """The reports of one data directory. Any number of processes may read it."""

    def __init__(self, data_dir: Path) -> None:
        """Reads nothing yet."""
        self.directory = data_dir / "reports"

    def write(self, record: RunRecord, report: str) -> Path:
        """Keeps a report, instead of the same run's former one.

        Args:
            record: of its run.
            report: HTML.

        Returns:
            The report's path.

        Raises:
            OSError: the disk is full or cannot be written.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self._path(record.run)
        _replace(path, report)
        _replace(path.with_suffix(".json"), json.dumps(asdict(record)))
        sync_directory(self.directory)
        self._remove_oldest()
        return path

    def recent(self, count: int) -> list[RunRecord]:
        """The last runs, the latest first; what cannot be read is passed over."""
        read = [_read(path) for path in self.directory.glob("*.json") if _RUN.fullmatch(path.stem)]
        records = [record for record in read if record is not None]
        return sorted(records, key=lambda record: -record.ended_at)[:count]

    def read(self, run: str) -> str | None:
        """A run's report; None if there is none. The name may come from anyone."""
        if not _RUN.fullmatch(run):
            return None
        try:
            return self._path(run).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def _path(self, run: str) -> Path:
        return self.directory / f"{run}.html"

    def _remove_oldest(self) -> None:
        # Those that a kill left half written, too.
        reports = sorted(self.directory.glob("*.html"), key=lambda path: -path.stat().st_mtime)
        for path in reports[_KEPT:]:
            for each in self.directory.glob(f"*{path.stem}.*"):
                each.unlink(missing_ok=True)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(_NEW + path.name)
    write_durably(partial, text)
    partial.replace(path)


def _read(path: Path) -> RunRecord | None:
    try:
        return _RECORD.validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None
