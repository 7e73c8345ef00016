import os
from pathlib import Path

import pytest

from backend.report_store import ReportStore, RunRecord


def record(number: int, ended_at: float | None = None) -> RunRecord:
    return RunRecord(f"{number:016x}", "base", number if ended_at is None else ended_at)


def test_a_report_is_kept_and_found(tmp_path: Path) -> None:
    store = ReportStore(tmp_path)
    refused = RunRecord("00000000000000ab", "base", 5.0, reasons=("It is worse.", "And wrong."))
    path = store.write(refused, "<p>é</p>")
    assert path == tmp_path / "reports" / "00000000000000ab.html"
    assert store.read(refused.run) == "<p>é</p>"
    assert store.recent(10) == [refused]


def test_a_run_that_ends_again_replaces_its_report(tmp_path: Path) -> None:
    store = ReportStore(tmp_path)
    store.write(record(1, 1), "former")
    store.write(record(1, 2), "now")
    assert store.read(record(1).run) == "now"
    assert store.recent(10) == [record(1, 2)]


def test_the_latest_come_first(tmp_path: Path) -> None:
    store = ReportStore(tmp_path)
    for number in (2, 3, 1):
        store.write(record(number), "")
    assert store.recent(2) == [record(3), record(2)]


def test_the_oldest_are_removed_with_all_that_a_kill_left_of_them(tmp_path: Path) -> None:
    store = ReportStore(tmp_path)
    for number in range(60):
        path = store.write(record(number), "")
        os.utime(path, (number, number))
        if number == 0:
            path.with_name(f".new-{path.stem}.json").touch()
    store.write(record(99), "")
    assert len(list(store.directory.iterdir())) == 100
    assert [each.run for each in store.recent(100)] == [
        record(number).run for number in (99, *range(59, 10, -1))
    ]


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    store = ReportStore(tmp_path)
    assert store.recent(10) == []
    store.write(record(1), "")
    for number, content in enumerate(("{", "[]", "{}", '{"run": 1}'), start=2):
        (store.directory / f"{number:016x}.json").write_text(content)
    (store.directory / "notes.json").write_text((store.directory / f"{1:016x}.json").read_text())
    assert store.recent(10) == [record(1)]


@pytest.mark.parametrize(
    "name",
    ["", "..", "../secret", "/etc/passwd", "0123456789abcde", "0123456789ABCDEF", "0" * 16 + "\n"],
)
def test_only_a_runs_name_is_looked_for(tmp_path: Path, name: str) -> None:
    store = ReportStore(tmp_path)
    store.write(record(0), "")
    (tmp_path / "secret.html").write_text("secret")
    assert store.read(name) is None
