"""A person types a prompt in Label Studio and saves the mask: browser, server, backend, model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from numpy.typing import NDArray
from playwright.sync_api import Page, expect

from backend.brush_rle import decode_mask
from backend.demo_project import LABEL_CONFIG
from tests.conftest import (
    ROOT,
    SAMPLES,
    BackendStarter,
    ProjectCreator,
    RunningBackend,
    RunningLabelStudio,
)

PROMPT = "the cat"
PHOTO = SAMPLES / "cat.jpg"
PHOTO_SIZE = (300, 451)
SCREENSHOT = ROOT / "build" / "screenshots" / "label-studio.png"


@pytest.fixture(scope="module")
def backend(start_backend: BackendStarter, label_studio: RunningLabelStudio) -> RunningBackend:
    return start_backend(
        "demo",
        LABEL_STUDIO_URL=label_studio.url,
        LABEL_STUDIO_API_KEY=label_studio.login.api_key,
    )


def test_the_mask_of_a_typed_prompt_is_saved_as_the_model_made_it(
    page: Page,
    backend: RunningBackend,
    label_studio: RunningLabelStudio,
    create_project: ProjectCreator,
) -> None:
    project = create_project(LABEL_CONFIG, (PHOTO,), backend.url, title="Photos")
    (task,) = label_studio.admin.tasks(project)

    page.goto(f"/projects/{project}/data?task={task['id']}")
    page.get_by_test_id("bottombar-auto-annotation-toggle").click()
    box = page.get_by_placeholder("for example: the cat")
    box.fill(PROMPT)
    box.press("Enter")
    page.get_by_test_id("bottombar-accept-suggestions-button").click()
    expect(page.locator(".lsf-outliner-item").filter(has_text="Cat")).to_be_visible()
    take_screenshot(page, SCREENSHOT)
    with page.expect_response(is_annotation_saved):
        page.get_by_role("button", name="Submit").click()

    (task,) = label_studio.admin.tasks(project)
    (annotation,) = task["annotations"]
    saved = only_mask_region(annotation["result"])
    assert saved["value"]["brushlabels"] == ["Cat"]
    assert saved["meta"]["prompt"] == PROMPT
    saved_mask = decoded(saved)
    assert saved_mask.shape == PHOTO_SIZE
    assert saved_mask.any()
    np.testing.assert_array_equal(saved_mask, decoded(predicted_region(backend, task)))


def take_screenshot(page: Page, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=file)


def is_annotation_saved(response: Any) -> bool:
    request = response.request
    return request.method == "POST" and "/annotations" in request.url and bool(response.ok)


def predicted_region(backend: RunningBackend, task: dict[str, Any]) -> dict[str, Any]:
    """What the backend answers to the prompt when asked directly."""
    typed = {
        "id": "t1",
        "type": "textarea",
        "from_name": "prompt",
        "to_name": "image",
        "value": {"text": [PROMPT]},
    }
    body = {
        "tasks": [{"id": task["id"], "data": task["data"]}],
        "label_config": LABEL_CONFIG,
        "params": {"context": {"result": [typed]}},
    }
    reply = requests.post(f"{backend.url}/predict", json=body, timeout=100)
    reply.raise_for_status()
    (prediction,) = reply.json()["results"]
    return only_mask_region(prediction["result"])


def only_mask_region(results: list[dict[str, Any]]) -> dict[str, Any]:
    (region,) = [result for result in results if result["type"] == "brushlabels"]
    return region


def decoded(region: dict[str, Any]) -> NDArray[np.bool_]:
    height, width = region["original_height"], region["original_width"]
    return decode_mask(region["value"]["rle"], height, width)
