import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend import finetune
from backend.__main__ import main
from backend.finetune_exit import FinetuneExit
from backend.version_store import NewVersion, VersionStore
from backend.versions import model_version


def test_the_help_says_how_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for word in ("python -m backend serve", "LABEL_STUDIO_API_KEY", "REDIS_URL", "demo", "worker"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "COMMAND"),
        (["fly"], "invalid choice"),
        (["serve", "--workers", "0"], "must be at least 1"),
        (["serve", "--workers", "many"], "--workers"),
        (["web", "--workers", "2"], "unrecognized arguments"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


def test_the_help_comes_without_heavy_imports() -> None:
    code = (
        "import sys, contextlib, backend.__main__ as command_line\n"
        "with contextlib.suppress(SystemExit): command_line.main(['serve', '--help'])\n"
        "print(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert {"torch", "fastapi", "redis"}.isdisjoint(ran.stdout.split())


@pytest.mark.parametrize("variable", ["BASIC_AUTH_USER", "BASIC_AUTH_PASS"])
def test_half_of_basic_auth_is_refused(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "studio-word")
    assert main(["web"]) == 2
    error = capsys.readouterr().err
    assert "set both BASIC_AUTH_USER and BASIC_AUTH_PASS, or neither" in error
    assert "studio-word" not in error


def test_a_worker_started_by_its_module_names_a_wrong_setting() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "backend.worker"],
        env=os.environ | {"SELF1E_JOB_TIMEOUT": "soon"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("SELF1E_JOB_TIMEOUT: ")
    assert "Traceback" not in ran.stderr


def test_versions_are_listed_shown_used_rolled_back_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SELF1E_DATA_DIR", str(tmp_path))
    base = model_version("demo")

    def versions(*arguments: str, code: int = 0) -> str:
        assert main(["versions", *arguments]) == code
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    def write_adapter(directory: Path) -> None:
        (directory / "adapter_model.safetensors").write_text("weights")

    learned = VersionStore(tmp_path, base).publish(
        NewVersion(
            parent=base,
            fingerprint="f",
            run="1",
            verdict="passed",
            write_adapter=write_adapter,
            metrics={"giou": 0.5},
        )
    )
    assert versions("list").splitlines() == [
        f"  {base}  the model itself",
        f"* {learned.name}  {learned.created_at}, from {base}",
    ]
    shown = json.loads(versions("show", learned.name))
    assert (shown["verdict"], shown["metrics"]) == ("passed", {"giou": 0.5})
    assert base in versions("rollback")
    assert versions("list").startswith("* ")
    assert learned.name in versions("use", learned.name)
    assert learned.name in versions("delete", learned.name, code=1)
    versions("use", base)
    versions("delete", learned.name)
    assert versions("list") == f"* {base}  the model itself\n"
    assert "nobody" in versions("use", "nobody", code=1)


def test_bad_settings_of_a_training_are_named_without_their_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SELF1E_MAX_TILES", "hundreds")
    assert finetune.main(["--project", "1"]) == FinetuneExit.FAILED
    error = capsys.readouterr().err
    assert "SELF1E_MAX_TILES" in error
    assert "hundreds" not in error


def test_a_training_has_at_least_one_step(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        finetune.main(["--project", "1", "--steps", "0"])
    assert "must be at least 1" in capsys.readouterr().err
