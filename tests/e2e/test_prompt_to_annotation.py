"""A person types a prompt in Label Studio and saves the mask: browser, server, backend, model."""

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, expect
from pydantic import SecretStr

from backend.config_command import labeling_config
from backend.demo_project import LABEL_CONFIG
from backend.mask_cleanup import without_specks
from backend.project_source import collect_project
from backend.projects_api import ProjectsApi
from backend.settings import Settings
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
PLACEHOLDER = "What to mark"


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


def test_the_status_is_told_and_harms_nothing_that_is_saved(
    page: Page,
    backend: RunningBackend,
    label_studio: RunningLabelStudio,
    create_project: ProjectCreator,
) -> None:
    config = labeling_config(["cat"], status=True)
    project = create_project(config, (PHOTO,), backend.url, title="Status")
    (task,) = label_studio.admin.tasks(project)

    open_task(page, project, task["id"])
    type_prompt(page, PROMPT, PLACEHOLDER)
    accept_suggestions(page)
    type_prompt(page, "the airplane", PLACEHOLDER)
    expect(page.get_by_text('nothing found for "the airplane"')).to_be_visible()
    take_screenshot(page, "status")
    submit(page)

    (task,) = label_studio.admin.tasks(project)
    (annotation,) = task["annotations"]
    (saved,) = mask_regions(annotation["result"])
    np.testing.assert_array_equal(decoded(saved), model_mask(PROMPT))
    settings = Settings(
        label_studio_url=label_studio.url,
        label_studio_api_key=SecretStr(label_studio.login.api_key),
    )
    (sample,) = collect_project(ProjectsApi(settings), project).samples
    assert sample.prompt == PROMPT


def model_mask(prompt: str) -> NDArray[np.bool_]:
    """What the model itself answers, without the service around it; specks are never drawn."""
    predictor = load_predictor("demo", device="cpu")
    (found,) = predictor.segment(predictor.encode_image(load_image(PHOTO)), [prompt])
    return without_specks(found.mask)
