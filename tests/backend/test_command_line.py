import subprocess
import sys

import pytest

from backend import finetune
from backend.__main__ import main
from backend.finetune_exit import FinetuneExit


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
