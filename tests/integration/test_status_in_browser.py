"""The status page in Chromium: an image is tried, and the last answers are shown."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator

from tests.conftest import ROOT
from tests.contract.scene import scene

pytestmark = pytest.mark.timeout(180)

SCREENSHOT = ROOT / "build" / "screenshots" / "status.png"


def test_an_image_is_tried_and_its_answer_is_among_the_last(
    page_url: str, colour_worker: None, browser: Browser, tmp_path: Path
) -> None:
    scene().save(tmp_path / "scene.png")
    with browser.new_page(viewport={"width": 1400, "height": 860}) as page:
        page.goto(page_url)
        page.get_by_label("image").set_input_files(tmp_path / "scene.png")
        page.get_by_label("prompt").fill("the red one")
        page.get_by_role("button", name="Segment").click()
        assert width(page.get_by_alt_text("the image with the mask")) == scene().width
        assert "the red one" in page.inner_text("body")
        page.get_by_role("link", name="Back").click()
        assert width(page.get_by_alt_text("the answer")) == scene().width
        row = page.get_by_role("row").filter(has=page.get_by_alt_text("the answer"))
        assert "the red one" in row.inner_text()
        SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOT)


def width(picture: Locator) -> int:
    """Of a picture that could be shown, in pixels of its file."""
    picture.wait_for()
    return int(
        picture.evaluate("async image => { await image.decode(); return image.naturalWidth }")
    )
