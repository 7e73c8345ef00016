"""A person types a prompt in Label Studio and saves the mask: browser, server, backend, model."""

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, expect

from backend.demo_project import LABEL_CONFIG
from backend.mask_cleanup import without_specks
from self1e.checkpoint import load_predictor
from self1e.image import load_image
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
    np.testing.assert_array_equal(saved_mask, model_mask(PROMPT))


def model_mask(prompt: str) -> NDArray[np.bool_]:
    """What the model itself answers, without the service around it; specks are never drawn."""
    predictor = load_predictor("demo", device="cpu")
    (found,) = predictor.segment(predictor.encode_image(load_image(PHOTO)), [prompt])
    return without_specks(found.mask)
