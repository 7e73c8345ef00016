import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from backend.errors import VersionError
from backend.version_store import NewVersion, VersionStore

BASE = "demo-1a2b3c4d"


def write(directory: Path) -> None:
    (directory / "adapter_model.safetensors").write_text("weights")


def new(run: str = "1", parent: str = BASE) -> NewVersion:
    return NewVersion(
        parent=parent,
        fingerprint="f",
        run=run,
        verdict="passed",
        write_adapter=write,
        metrics={"giou": 0.5},
        prompts=("the wheel",),
    )


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    return VersionStore(tmp_path, BASE)


def test_without_versions_the_base_is_served(store: VersionStore) -> None:
    assert store.current() == BASE
    assert store.names() == [BASE]
    assert store.adapter(BASE) is None
    assert store.read(BASE) is None
    assert store.metrics(BASE) == {}


def test_what_is_published_is_served_and_known(store: VersionStore) -> None:
    version = store.publish(new())
    assert version.name.startswith(f"{BASE}+20")
    assert version.name.endswith("-1")
    assert store.current() == version.name
    assert store.names() == [BASE, version.name]
    assert store.read(version.name) == version
    assert store.metrics(version.name) == {"giou": 0.5}
    adapter = store.adapter(version.name)
    assert adapter is not None
    assert (adapter / "adapter_model.safetensors").read_text() == "weights"
    # Another base's versions are others.
    assert VersionStore(store.directory.parents[1], "other").names() == ["other"]


def test_a_version_is_published_once_however_often_its_run_ends(store: VersionStore) -> None:
    first = store.publish(new())
    store.use(BASE)
    assert store.publish(new()) == first
    assert store.current() == first.name
    assert store.names() == [BASE, first.name]


def test_what_was_compared_with_another_version_is_not_published(store: VersionStore) -> None:
    first = store.publish(new("1"))
    with pytest.raises(VersionError, match="has come to be served while this was trained"):
        store.publish(new("2"))
    assert store.current() == first.name
    forced = store.publish(replace(new("2"), forced=True))
    assert store.current() == forced.name


def test_rollback_goes_back_step_by_step(store: VersionStore) -> None:
    first = store.publish(new("1")).name
    second = store.publish(new("2", first)).name
    assert store.rollback() == first
    assert store.rollback() == BASE
    with pytest.raises(VersionError, match="No version was served before"):
        store.rollback()
    store.use(second)
    assert store.rollback() == BASE


def test_deleted_versions_are_passed_over_and_their_names_not_given_again(
    store: VersionStore,
) -> None:
    first = store.publish(new("1")).name
    second = store.publish(new("2", first)).name
    with pytest.raises(VersionError, match="is served"):
        store.delete(second)
    store.delete(first)
    assert store.names() == [BASE, second]
    assert store.rollback() == BASE
    store.delete(second)
    assert store.publish(new("3")).name.endswith("-3")


@pytest.mark.parametrize("name", ["", "..", "../demo-1a2b3c4d", ".lock", "nothing"])
def test_names_that_are_no_versions_are_refused(store: VersionStore, name: str) -> None:
    store.publish(new())
    calls: list[Callable[[str], object]] = [store.use, store.delete, store.read, store.adapter]
    for call in calls:
        with pytest.raises(VersionError, match="There is no version"):
            call(name)


def test_the_base_is_not_deleted(store: VersionStore) -> None:
    with pytest.raises(VersionError, match="is the model itself"):
        store.delete(BASE)


def test_a_damaged_file_is_an_error_that_names_it(store: VersionStore) -> None:
    version = store.publish(new()).name
    (store.directory / version / "version.json").write_text("{")
    with pytest.raises(VersionError, match=r"version\.json cannot be read"):
        store.read(version)
    (store.directory / "CURRENT").write_text("")
    with pytest.raises(VersionError, match=f"Remove it to serve {BASE}"):
        store.current()


def test_an_adapter_that_cannot_be_written_leaves_nothing_served(store: VersionStore) -> None:
    def fail(directory: Path) -> None:
        write(directory)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.publish(replace(new(), write_adapter=fail))
    assert store.names() == [BASE]
    store.publish(new())
    assert not list(store.directory.glob(".new-*"))


def test_what_was_not_given_its_name_is_no_version(store: VersionStore) -> None:
    store.publish(new())
    whole = store.directory / store.current()
    shutil.copytree(whole, store.directory / ".new-left-by-a-kill")
    assert store.names() == [BASE, whole.name]


PUBLISH_FOREVER = """
import sys
from pathlib import Path
from backend.version_store import NewVersion, VersionStore

store = VersionStore(Path(sys.argv[1]), sys.argv[2])

def write(directory):
    (directory / "adapter_model.safetensors").write_bytes(bytes(1 << 16))

number = 0
while True:
    number += 1
    store.publish(NewVersion(store.current(), "f", f"{sys.argv[3]}-{number}", "passed", write))
    print(number, flush=True)
"""


def publisher(directory: Path, name: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", PUBLISH_FOREVER, str(directory), BASE, name], stdout=subprocess.PIPE
    )


def test_killed_at_whatever_moment_a_whole_version_is_served(
    store: VersionStore, tmp_path: Path
) -> None:
    for attempt in range(6):
        process = publisher(tmp_path, str(attempt))
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.003 * attempt)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        current = store.current()
        adapter = store.adapter(current)
        assert adapter is not None
        assert (adapter / "adapter_model.safetensors").stat().st_size == 1 << 16
        assert all(store.read(name) for name in store.names()[1:])


def test_a_second_publisher_waits_for_the_first(store: VersionStore, tmp_path: Path) -> None:
    use_base = (
        "import sys; from pathlib import Path; from backend.version_store import VersionStore;"
    )
    use_base += "VersionStore(Path(sys.argv[1]), sys.argv[2]).use(sys.argv[2])"
    other: list[subprocess.Popen[bytes]] = []

    def slow(directory: Path) -> None:
        other.append(subprocess.Popen([sys.executable, "-c", use_base, str(tmp_path), BASE]))
        time.sleep(1)
        assert other[0].poll() is None
        write(directory)

    version = store.publish(replace(new(), write_adapter=slow))
    assert other[0].wait(60) == 0
    assert store.current() == BASE
    assert store.rollback() == version.name


def test_on_a_disk_that_fills_up_the_former_version_stays(
    store: VersionStore, tmp_path: Path
) -> None:
    former = store.publish(new()).name
    # The kernel refuses what goes beyond the limit, as it does on a full disk.
    publish = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, 1 << 15))\n" + PUBLISH_FOREVER
    )
    ran = subprocess.run(
        [sys.executable, "-c", publish, str(tmp_path), BASE, "full"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "OSError: [Errno 27]" in ran.stderr
    assert store.current() == former
    assert store.names() == [BASE, former]
    # Once there is room again, the next one is published.
    assert store.publish(new("2", parent=former)).name == store.current() != former
