"""A Chromium that is logged in to the test run's Label Studio."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from tests.conftest import RunningLabelStudio

# As root Chromium runs only without its sandbox; the others keep it from calling out.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VIEWPORT: ViewportSize = {"width": 1400, "height": 860}


@pytest.fixture(scope="session")
def browser(chromium_program: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_program, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, label_studio: RunningLabelStudio) -> Iterator[Page]:
    """A page of a new browser profile, logged in."""
    page = browser.new_page(base_url=label_studio.url, viewport=VIEWPORT)
    page.set_default_timeout(60_000)
    page.goto("/user/login")
    page.locator("input[name=email]").fill(label_studio.login.email)
    page.locator("input[name=password]").fill(label_studio.login.password)
    page.locator("button[type=submit]").click()
    expect(page).not_to_have_url(re.compile("login"))
    yield page
    page.close()
