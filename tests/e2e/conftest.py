"""A Chromium that is logged in to the test run's Label Studio."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.conftest import RunningLabelStudio

VIEWPORT: ViewportSize = {"width": 1400, "height": 860}


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
