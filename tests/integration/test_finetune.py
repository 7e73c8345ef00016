"""From accepted annotations to a served version, with a real (tiny) model."""

import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from backend.errors import VersionError
from backend.finetune import main
from backend.finetune_exit import FinetuneExit
from backend.finetune_lock import training_lock
from backend.report_store import ReportStore, RunRecord
from backend.version_store import VersionStore
from backend.versions import model_version
from tests.annotated_export import write_export
from tests.integration.conftest import Serve, read_until
from tests.integration.test_serve_with_model import ask, photo
from tests.tiny_model import write_tiny_model
from tests.web_server import Reply, web_server

pytestmark = pytest.mark.timeout(900)

# A random model has nothing that is worth keeping: it may forget all.
LENIENT = ("--margin", "1", "--steps", "100")
CHANGE_SECONDS = 60
THINK_SECONDS = 4  # a slow machine must have time between the prompts, or the training waits


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("export"), range(16))


@pytest.fixture
def environment(model: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELF1E_MODEL", str(model))
    monkeypatch.setenv("SELF1E_DATA_DIR", str(data_dir))
    monkeypatch.setenv("SELF1E_DEVICE", "cpu")


def finetune(export: Path, *arguments: str) -> tuple[int, str]:
    said: list[str] = []
    code = main(
        ["--export", str(export), "--image-root", str(export.parent / "images"), *arguments],
        said.append,
    )
    return code, "\n".join(said)


def report_of(data_dir: Path, said: str) -> tuple[RunRecord, str]:
    """The only report, which the last line names."""
    store = ReportStore(data_dir)
    (record,) = store.recent(10)
    report = store.read(record.run)
    assert report is not None
    assert said.splitlines()[-1] == f"report: {store.directory / record.run}.html"
    return record, report


def test_a_running_worker_answers_with_the_new_version_and_after_a_rollback_with_the_old(
    serve: Serve, port: int, model: Path, data_dir: Path, export: Path, environment: None
) -> None:
    base = model_version(str(model))
    backend = serve(SELF1E_MODEL=str(model), SELF1E_PRIVATE_IMAGE_HOSTS="127.0.0.1")
    url = f"http://127.0.0.1:{port}"
    with web_server(lambda _: Reply(body=photo())) as images:

        def version_answering() -> str:
            return str(ask(url, f"{images.url}/1.png", "the square")["model_version"])

        def wait_for_change(before: str, now: str) -> None:
            deadline = time.monotonic() + CHANGE_SECONDS
            while (answering := version_answering()) != now:
                # Every prompt is answered, by one of the two.
                assert answering == before
                assert time.monotonic() < deadline
                time.sleep(0.2)

        read_until(backend, "Ready")
        assert version_answering() == base
        code, said = finetune(export, *LENIENT)
        assert code == FinetuneExit.PUBLISHED, said
        store = VersionStore(data_dir, base)
        new = store.current()
        assert new.startswith(f"{base}+")
        assert f"published: {new}" in said
        record, report = report_of(data_dir, said)
        assert (record.parent, record.version, record.reasons) == (base, new, ())
        assert f"Passed, and published as {new}." in report
        assert "<td>Square</td><td>5</td><td>5</td>" in report
        assert "Most improved" in report
        assert 1 <= report.count('<img alt="after" src="data:image/jpeg;base64,') <= 5
        assert "<svg" in report
        assert f"backend.finetune --export {export} --image-root" in report
        wait_for_change(base, new)
        assert store.rollback() == base
        wait_for_change(new, base)
    assert not list((data_dir / "finetunes").glob("[0-9a-f]*"))


def test_five_annotators_get_every_answer_while_it_learns(
    serve: Serve, port: int, model: Path, data_dir: Path, export: Path, environment: None
) -> None:
    backend = serve(SELF1E_MODEL=str(model), SELF1E_PRIVATE_IMAGE_HOSTS="127.0.0.1")
    learned = threading.Event()

    with web_server(lambda _: Reply(body=photo())) as images, ThreadPoolExecutor(5) as annotators:

        def annotate(number: int) -> int:
            answers = 0
            while not learned.wait(THINK_SECONDS):
                prompt = f"the square {number} {answers}"
                item = ask(f"http://127.0.0.1:{port}", f"{images.url}/{number}.png", prompt)
                assert item["result"][0]["meta"]["prompt"] == prompt
                answers += 1
            return answers

        read_until(backend, "Ready")
        answered = [annotators.submit(annotate, number) for number in range(5)]
        try:
            code, said = finetune(export, *LENIENT)
        finally:
            learned.set()
        assert code == FinetuneExit.PUBLISHED, said
        assert all(answers.result() > 0 for answers in answered)


def test_what_forgets_is_refused_and_force_publishes_it_on_the_record(
    model: Path, data_dir: Path, export: Path, environment: None
) -> None:
    store = VersionStore(data_dir, model_version(str(model)))
    code, said = finetune(export, "--steps", "20")
    assert code == FinetuneExit.REFUSED
    assert "worse than the margin of 0.020" in said
    assert store.current() == store.base
    record, report = report_of(data_dir, said)
    assert record.version == ""
    assert "worse than the margin of 0.020" in record.reasons[-1]
    assert f"Not published: {store.base} goes on being served." in report
    # The trained adapter is still there: nothing is trained twice.
    code, said = finetune(export, "--steps", "20", "--force")
    assert code == FinetuneExit.PUBLISHED, said
    version = store.read(store.current())
    assert version is not None
    assert version.forced
    assert "worse than the margin" in version.verdict
    record, report = report_of(data_dir, said)
    assert record.version == version.name
    assert f"Published by force as {version.name}." in report
    metrics = store.metrics(version.name)
    assert metrics["general_measure"] == "agreement"
    assert metrics["held_out"]["photos"] == 5


def test_a_poisoned_set_is_refused(
    data_dir: Path, tmp_path: Path, environment: None, model: Path
) -> None:
    poisoned = write_export(tmp_path, range(16), inverted=True)
    code, said = finetune(poisoned, *LENIENT)
    assert code == FinetuneExit.REFUSED
    assert "look inverted" in said
    store = VersionStore(data_dir, model_version(str(model)))
    assert store.current() == store.base


def test_a_version_that_comes_too_late_leaves_a_report_that_says_so(
    data_dir: Path, export: Path, environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: object) -> None:
        raise VersionError("Another one is served by now.")

    monkeypatch.setattr(VersionStore, "publish", too_late)
    code, said = finetune(export, "--steps", "1", "--force")
    assert code == FinetuneExit.FAILED
    record, report = report_of(data_dir, said)
    assert record.version == ""
    assert record.reasons[-1] == "Another one is served by now."
    assert "Another one is served by now." in report


def test_a_report_that_cannot_be_written_fails_no_run(
    model: Path, data_dir: Path, export: Path, environment: None
) -> None:
    (data_dir / "reports").touch()
    code, said = finetune(export, "--steps", "1", "--force")
    assert code == FinetuneExit.PUBLISHED
    assert "no report: " in said.splitlines()[-1]
    store = VersionStore(data_dir, model_version(str(model)))
    assert store.current() != store.base


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_two_trainings_on_one_device_exclude_each_other(
    device: str,
    data_dir: Path,
    export: Path,
    environment: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("SELF1E_DEVICE", device)
    with training_lock(data_dir, "cpu"):
        code, _ = finetune(export)
    assert code == FinetuneExit.BUSY
    assert "Another training runs on the device cpu" in capsys.readouterr().err


def test_of_two_commands_started_at_once_one_trains(
    data_dir: Path, export: Path, environment: None, model: Path
) -> None:
    command = [sys.executable, "-m", "backend.finetune", "--export", str(export)]
    command += ["--image-root", str(export.parent / "images"), "--steps", "1", "--force"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [(process.communicate(timeout=300), process.returncode) for process in both]
    assert sorted(code for _, code in ended) == [FinetuneExit.PUBLISHED, FinetuneExit.BUSY], ended
    (refused,) = [said for (_, said), code in ended if code == FinetuneExit.BUSY]
    assert "Another training runs on the device cpu" in refused
    store = VersionStore(data_dir, model_version(str(model)))
    assert store.names() == [store.base, store.current()]


def test_too_few_photos_are_refused(
    data_dir: Path, tmp_path: Path, environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = finetune(write_export(tmp_path, range(9)))
    assert code == FinetuneExit.FAILED
    assert "There are 9 annotated photos, and at least 10 are needed" in capsys.readouterr().err


def test_photos_that_cannot_be_had_are_left_out_and_counted(
    data_dir: Path, tmp_path: Path, environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    export = write_export(tmp_path, range(12))
    shutil.rmtree(tmp_path / "images")
    (tmp_path / "images").mkdir()
    code, _ = finetune(export)
    assert code == FinetuneExit.FAILED
    assert "There are 0 annotated photos" in capsys.readouterr().err
