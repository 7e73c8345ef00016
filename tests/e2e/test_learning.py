"""Annotators teach a thing, and the same prompt gets another mask: browser, server, training."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Page

from tests.conftest import (
    ROOT,
    BackendStarter,
    ProjectCreator,
    RunningBackend,
    RunningLabelStudio,
    environment_without_settings,
)
from tests.e2e.disc_photos import (
    LABEL_CONFIG,
    PROMPT,
    annotation_results,
    disc_photo,
    write_disc_photos,
)
from tests.e2e.editor import (
    decoded,
    mask_regions,
    open_task,
    take_screenshot,
    type_prompt,
)

TAUGHT, ASIDE = range(16), 16
STEPS = 100
LEAD_SECONDS = 20.0
SWAP_SECONDS = 60.0


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def environment(label_studio: RunningLabelStudio, data_dir: Path) -> dict[str, str]:
    return {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.login.api_key,
        "SELF1E_DATA_DIR": str(data_dir),
    }


@pytest.fixture
def backend(start_backend: BackendStarter, environment: dict[str, str]) -> RunningBackend:
    return start_backend("demo", **environment)


@pytest.mark.timeout(900)
def test_the_same_prompt_gets_a_better_mask_after_learning(
    page: Page,
    backend: RunningBackend,
    label_studio: RunningLabelStudio,
    create_project: ProjectCreator,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    photos = write_disc_photos(tmp_path, range(ASIDE + 1))
    project = create_project(LABEL_CONFIG, photos, backend.url, title="Discs")
    tasks = {_seed(task): task["id"] for task in label_studio.admin.tasks(project)}

    before = _prompt(page, project, tasks[ASIDE])
    take_screenshot(page, "before-learning")
    for seed in TAUGHT:
        label_studio.admin.annotate(tasks[seed], annotation_results(seed), LEAD_SECONDS)
    _learn(project, environment)
    _wait_until_served(backend.url, before["model_version"])
    after = _prompt(page, project, tasks[ASIDE])
    take_screenshot(page, "after-learning")

    assert after["model_version"] != before["model_version"]
    assert _iou(after) > _iou(before) + 0.2


def _wait_until_served(url: str, former: str) -> None:
    """Workers swap a version in by themselves."""
    deadline = time.monotonic() + SWAP_SECONDS
    while httpx.get(f"{url}/health").json()["model_version"] == former:
        assert time.monotonic() < deadline, "the new version is not served"
        time.sleep(0.5)


def _prompt(page: Page, project: int, task: int) -> dict[str, Any]:
    open_task(page, project, task)
    return type_prompt(page, PROMPT)


def _learn(project: int, environment: dict[str, str]) -> None:
    """As a user would, on the command line."""
    command = [sys.executable, "-m", "backend.finetune", "--project", str(project)]
    ran = subprocess.run(
        [*command, "--steps", str(STEPS)],
        cwd=ROOT,
        env=environment_without_settings() | environment | {"SELF1E_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _iou(prediction: dict[str, Any]) -> float:
    """Of all that was predicted with the disc."""
    _, truth = disc_photo(ASIDE)
    found = np.zeros_like(truth)
    for region in mask_regions(prediction["result"]):
        found |= decoded(region)
    return float((found & truth).sum() / (found | truth).sum())


def _seed(task: dict[str, Any]) -> int:
    """An upload is named after the file, with some characters in front."""
    return int(Path(task["data"]["image"]).stem.rpartition("-")[2])
