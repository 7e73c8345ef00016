"""The command that writes docs/reliability.md, for some seconds and with a tiny model."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment_without_settings
from tests.tiny_model import write_tiny_model


@pytest.mark.timeout(900)
def test_annotators_batches_and_faults_lose_and_double_nothing(tmp_path: Path) -> None:
    model, report = write_tiny_model(tmp_path / "model"), tmp_path / "reliability.md"
    command = [sys.executable, "-m", "tests.load", "--minutes", "0.3", "--annotators", "2"]
    ran = subprocess.run(
        [*command, "--tasks", "8", "--report", str(report)],
        cwd=ROOT,
        env=environment_without_settings() | {"SELF1E_MODEL": str(model), "SELF1E_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    text = report.read_text()
    assert "0 lost, 0 doubled" in text
    for fault in ("worker killed", "redis killed", "Label Studio down", "training beside"):
        assert f"| {fault} |" in text
    assert "| worker |" in text
