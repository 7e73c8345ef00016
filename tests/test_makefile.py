"""What `make` would do on a fresh machine."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

CPU_BUILDS = "https://download.pytorch.org/whl/cpu"


def dry_run(tmp_path: Path, *arguments: str) -> str:
    """The commands of `make install` where nothing is installed."""
    ran = subprocess.run(
        ["make", "--dry-run", "install", f"VENV={tmp_path / 'venv'}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


@pytest.mark.parametrize(("torch", "is_small"), [("cpu", True), ("cuda", False)])
def test_the_build_of_torch_can_be_chosen(tmp_path: Path, torch: str, is_small: bool) -> None:
    commands = dry_run(tmp_path, f"TORCH={torch}")
    assert (CPU_BUILDS in commands) == is_small
    assert "--editable ." in commands


def test_the_images_take_the_same_builds() -> None:
    assert CPU_BUILDS in (ROOT / "docker" / "Dockerfile").read_text()
