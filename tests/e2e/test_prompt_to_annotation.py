"""A person types a prompt in Label Studio and saves the mask: browser, server, backend, model."""

from typing import Any

import numpy as np
import pytest
import requests
from playwright.sync_api import Page, expect

from backend.demo_project import LABEL_CONFIG
from tests.conftest import (
    SAMPLES,
    BackendStarter,
    ProjectCreator,
    RunningBackend,
    RunningLabelStudio,
)
from tests.e2e.editor import (
    accept_suggestions,
    decoded,
    mask_regions,
    open_task,
    submit,
    take_screenshot,
    type_prompt,
)

PROMPT = "the cat"
PHOTO = SAMPLES / "cat.jpg"
PHOTO_SIZE = (300, 451)


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

    open_task(page, project, task["id"])
    type_prompt(page, PROMPT)
    accept_suggestions(page)
    expect(page.locator(".lsf-outliner-item").filter(has_text="Cat")).to_be_visible()
    take_screenshot(page, "label-studio")
    submit(page)

    (task,) = label_studio.admin.tasks(project)
    (annotation,) = task["annotations"]
    (saved,) = mask_regions(annotation["result"])
    assert saved["value"]["brushlabels"] == ["Cat"]
    assert saved["meta"]["prompt"] == PROMPT
    saved_mask = decoded(saved)
    assert saved_mask.shape == PHOTO_SIZE
    assert saved_mask.any()
    np.testing.assert_array_equal(saved_mask, decoded(predicted_region(backend, task)))


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
    (region,) = mask_regions(prediction["result"])
    return region
