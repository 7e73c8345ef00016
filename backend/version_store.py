"""Trained versions on disk, and which one is served.

    <data_dir>/versions/<base>/<name>/    version.json, metrics.json, adapter/
    <data_dir>/versions/<base>/CURRENT    which one is served, and which were before

A version is written elsewhere, brought to the disk and renamed; then CURRENT is replaced. Killed at
whatever moment, the former version goes on being served. Never imports torch.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from backend.durable_files import sync_directory, sync_tree, write_durably
from backend.errors import VersionError
from backend.file_lock import try_lock

_CURRENT, _LOCK = "CURRENT", ".lock"
_ABOUT, _METRICS, _ADAPTER = "version.json", "metrics.json", "adapter"
_NEW = ".new-"
_REMEMBERED = 50  # versions that a rollback can go back through
_LOCK_SECONDS = 30.0
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class ModelVersion:
    """A trained version; its name is what Label Studio sees.

    `base` is the name of the model it was trained from, `parent` that of the version it went on
    from (the base or a trained one). `fingerprint` is of the samples, `run` of all that determined
    the training. `prompts` are all that it and its forebears were taught.
    """

    name: str
    base: str
    parent: str
    created_at: str
    fingerprint: str
    run: str
    verdict: str
    forced: bool = False
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Serving:
    """What CURRENT says: the served version, those served before it, and the last name given."""

    current: str
    before: tuple[str, ...] = ()
    last: str = ""


@dataclass(frozen=True)
class NewVersion:
    """What is published; the store gives the name and the time.

    `write_adapter` writes the adapter's files into an empty directory.
    """

    parent: str
    fingerprint: str
    run: str
    verdict: str
    write_adapter: Callable[[Path], None]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    forced: bool = False
    prompts: tuple[str, ...] = ()


class VersionStore:
    """The trained versions of one base model. Any number of processes may use one directory."""

    def __init__(self, data_dir: Path, base: str) -> None:
        """Reads nothing yet.

        Args:
            data_dir: the backend's data directory.
            base: the model's own version name (`backend.versions.model_version`).
        """
        self.base = base
        self.directory = data_dir / "versions" / base

    def current(self) -> str:
        """The version to serve: a trained one, or the base."""
        return self._serving().current

    def names(self) -> list[str]:
        """All versions, the base first, then as they were made."""
        try:
            entries = sorted(self.directory.iterdir(), key=_by_number)
        except FileNotFoundError:
            return [self.base]
        # What a kill left half made begins with _NEW, and may be whole but for its name.
        return [self.base] + [
            path.name
            for path in entries
            if not path.name.startswith(_NEW) and (path / _ABOUT).is_file()
        ]

    def adapter(self, name: str) -> Path | None:
        """Directory of a version's adapter; None for the base.

        Raises:
            VersionError: there is no such version.
        """
        if name == self.base:
            return None
        self._check(name)
        return self.directory / name / _ADAPTER

    def read(self, name: str) -> ModelVersion | None:
        """What is known of a version; None for the base.

        Raises:
            VersionError: there is no such version, or its file is damaged.
        """
        if name == self.base:
            return None
        self._check(name)
        path = self.directory / name / _ABOUT
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            return ModelVersion(**fields | {"prompts": tuple(fields["prompts"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise VersionError(f"{path} cannot be read: {error}") from error

    def metrics(self, name: str) -> dict[str, Any]:
        """What was measured of a version; empty for the base.

        Raises:
            VersionError: there is no such version, or its file is damaged.
        """
        if name == self.base:
            return {}
        self._check(name)
        path = self.directory / name / _METRICS
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise VersionError(f"{path} cannot be read: {error}") from error

    def publish(self, new: NewVersion) -> ModelVersion:
        """Adds a version and serves it. One that the same run has added already is served.

        Raises:
            VersionError: another version is served by now than the parent, or the lock is taken.
            OSError: the disk is full or cannot be written.
        """
        with self._locked():
            serving = self._serving()
            for name in self.names():
                version = self.read(name)
                if version is not None and version.run == new.run:
                    self._serve(serving, name)
                    return version
            if serving.current != new.parent and not new.forced:
                raise VersionError(
                    f"{serving.current} has come to be served while this was trained from "
                    f"{new.parent}: it was compared with another version. Train again."
                )
            version = self._write(new, serving)
            self._serve(replace(serving, last=version.name), version.name)
            return version

    def use(self, name: str) -> None:
        """Serves a version, the base too.

        Raises:
            VersionError: there is no such version, or the lock is taken.
        """
        with self._locked():
            self.adapter(name)
            self._serve(self._serving(), name)

    def rollback(self) -> str:
        """Serves the version that was served before this one.

        Returns:
            Its name.

        Raises:
            VersionError: there is none, or the lock is taken.
        """
        with self._locked():
            serving = self._serving()
            before = [name for name in serving.before if name in self.names()]
            if not before:
                raise VersionError(f"No version was served before {serving.current}.")
            self._write_serving(replace(serving, current=before[-1], before=tuple(before[:-1])))
            return before[-1]

    def delete(self, name: str) -> None:
        """Removes a version. Others that went on from it need nothing of it.

        Raises:
            VersionError: it is served or is the base, there is none, or the lock is taken.
        """
        with self._locked():
            if name == self.base:
                raise VersionError(f"{name} is the model itself, which is not deleted here.")
            self._check(name)
            if name == self._serving().current:
                raise VersionError(f"{name} is served. Use another one first, then delete it.")
            # Renamed first: what a kill leaves is no version.
            doomed = self.directory / f"{_NEW}deleted-{name}"
            (self.directory / name).rename(doomed)
            shutil.rmtree(doomed)

    def _check(self, name: str) -> None:
        is_name = name not in {"", ".", ".."} and not name.startswith(_NEW) and "/" not in name
        if not (is_name and (self.directory / name / _ABOUT).is_file()):
            raise VersionError(
                f"There is no version {name!r} of {self.base}. "
                "`python -m backend versions list` shows all."
            )

    def _serving(self) -> _Serving:
        path = self.directory / _CURRENT
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            return _Serving(fields["current"], tuple(fields["before"]), fields["last"])
        except FileNotFoundError:
            return _Serving(self.base)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise VersionError(
                f"{path} cannot be read: {error}. Remove it to serve {self.base}."
            ) from error

    def _serve(self, serving: _Serving, name: str) -> None:
        if name != serving.current:
            before = (*serving.before, serving.current)[-_REMEMBERED:]
            self._write_serving(replace(serving, current=name, before=before))

    def _write_serving(self, serving: _Serving) -> None:
        partial = self.directory / f"{_NEW}{_CURRENT}"
        write_durably(partial, json.dumps(asdict(serving)))
        partial.replace(self.directory / _CURRENT)
        sync_directory(self.directory)

    def _write(self, new: NewVersion, serving: _Serving) -> ModelVersion:
        for left in self.directory.glob(f"{_NEW}*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        now = datetime.now(timezone.utc)
        version = ModelVersion(
            name=self._next_name(now, serving.last),
            base=self.base,
            parent=new.parent,
            created_at=now.isoformat(timespec="seconds"),
            fingerprint=new.fingerprint,
            run=new.run,
            verdict=new.verdict,
            forced=new.forced,
            prompts=new.prompts,
        )
        partial = self.directory / f"{_NEW}{version.name}"
        adapter = partial / _ADAPTER
        adapter.mkdir(parents=True)
        new.write_adapter(adapter)
        write_durably(partial / _METRICS, json.dumps(new.metrics, indent=2))
        write_durably(partial / _ABOUT, json.dumps(asdict(version), indent=2))
        sync_tree(partial)
        partial.rename(self.directory / version.name)
        sync_directory(self.directory)
        return version

    def _next_name(self, now: datetime, last: str) -> str:
        """The day and a number; a deleted version's name is not given again."""
        stem = f"{self.base}+{now:%Y%m%d}-"
        taken = [name for name in (*self.names(), last) if name.startswith(stem)]
        number = max((int(name.removeprefix(stem)) for name in taken), default=0) + 1
        return f"{stem}{number}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / _LOCK).open("w") as file:
            deadline = time.monotonic() + _LOCK_SECONDS
            while not try_lock(file):
                if time.monotonic() > deadline:
                    raise VersionError(
                        f"Another process has been changing {self.directory} for "
                        f"{_LOCK_SECONDS:.0f} s. Try again when it has ended."
                    )
                time.sleep(_LOOK_SECONDS)
            yield


def _by_number(path: Path) -> tuple[str, int]:
    stem, _, number = path.name.rpartition("-")
    return stem, int(number) if number.isdecimal() else 0
