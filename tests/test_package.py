"""What is installed by people who do not clone the repository."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, SAMPLES

MOST_BYTES = 100_000_000
DEMO_FILES = ("config.json", "model.safetensors", "replay.safetensors")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy: setuptools writes beside what it builds."""
    source = tmp_path_factory.mktemp("source")
    files = subprocess.run(
        ["git", "ls-files", "-z", "self1e", "backend", "*.toml", "README.md", "LICENSE", "NOTICE"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, files):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(source)],
        capture_output=True,
        check=True,
    )
    (built,) = (source / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_the_packages_the_bundled_model_and_the_samples(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "self1e",
        "backend",
    }
    assert {f"self1e/demo_model/{name}" for name in DEMO_FILES} <= names
    assert {f"self1e/samples/{path.name}" for path in SAMPLES.iterdir()} <= names
    assert wheel.stat().st_size < MOST_BYTES


def test_an_installed_wheel_segments_offline(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as file:
        file.extractall(installed)
    command = ["segment", str(SAMPLES / "cat.jpg"), "--prompt", "the cat"]
    ran = subprocess.run(
        [sys.executable, "-m", "self1e", *command, "--out", str(tmp_path / "masks")],
        cwd=tmp_path,
        # Before the checkout that this environment has installed.
        env=os.environ | {"PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    (answer,) = json.loads(ran.stdout)
    assert answer["area"] > 0
