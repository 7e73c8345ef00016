"""What a person does in Label Studio's pages, and what comes of it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, Response

from backend.brush_rle import decode_mask
from tests.conftest import ROOT

_SCREENSHOTS = ROOT / "build" / "screenshots"


def open_task(page: Page, project: int, task: int) -> None:
    """Opens a task and switches Auto-Annotation on; the browser remembers it."""
    page.goto(f"/projects/{project}/data?task={task}")
    toggle = page.get_by_test_id("bottombar-auto-annotation-toggle")
    if not toggle.is_checked():
        toggle.click()
    page.wait_for_load_state("networkidle")  # what is typed into a half-loaded editor asks nothing


def type_prompt(page: Page, prompt: str, placeholder: str = "for example: ") -> dict[str, Any]:
    """Types a prompt; returns the prediction that the editor gets for it."""
    box = page.get_by_placeholder(placeholder)
    box.fill(prompt)
    with page.expect_response(lambda response: "interactive-annotating" in response.url) as reply:
        box.press("Enter")
    prediction: dict[str, Any] = reply.value.json()["data"]
    return prediction


def accept_suggestions(page: Page) -> None:
    """Takes all suggestions over into the annotation."""
    page.get_by_test_id("bottombar-accept-suggestions-button").click()


def submit(page: Page) -> None:
    """Saves the annotation."""
    with page.expect_response(_is_annotation_saved):
        page.get_by_role("button", name="Submit").click()


def take_screenshot(page: Page, name: str) -> None:
    """Keeps what the page shows; the files outlive the run."""
    _SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=_SCREENSHOTS / f"{name}.png")


def mask_regions(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The brush regions of an annotation's or a prediction's results."""
    return [result for result in results if result["type"] == "brushlabels"]


def decoded(region: dict[str, Any]) -> NDArray[np.bool_]:
    """A brush region's mask, bool (H, W)."""
    height, width = region["original_height"], region["original_width"]
    return decode_mask(region["value"]["rle"], height, width)


def _is_annotation_saved(response: Response) -> bool:
    request = response.request
    return request.method == "POST" and "/annotations" in request.url and response.ok
