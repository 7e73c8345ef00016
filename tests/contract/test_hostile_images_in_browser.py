"""What Chromium makes of image files is what the model gets: the same size, the same way up."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from backend.images import decode_image
from tests.contract.hostile_images import readable

# The middles of the four quarters, on white as Label Studio shows what is transparent.
SHOW = """
async (encoded) => {
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([bytes]));
  await image.decode();
  const canvas = document.createElement("canvas");
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  Object.assign(canvas, {width, height});
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0);
  const at = (x, y) => Array.from(
    context.getImageData(Math.floor(x * width), Math.floor(y * height), 1, 1).data.slice(0, 3)
  );
  return {width, height, pixels: [at(.25, .25), at(.75, .25), at(.25, .75), at(.75, .75)]};
}
"""


# Chromium turns them where it shows them, but its versions differ in what a canvas gets.
TURNED_ANIMATIONS = ("APNG", "WEBP, animated")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


def pixels_of(image: Image.Image) -> list[Any]:
    places = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
    return [image.getpixel((int(x * image.width), int(y * image.height))) for x, y in places]


def test_size_and_orientation_are_chromiums(page: Page) -> None:
    for name, data in readable().items():
        shown = page.evaluate(SHOW, base64.b64encode(data).decode())
        image = decode_image(data, max_megapixels=1)
        assert image.size == (shown["width"], shown["height"]), name
        if name in TURNED_ANIMATIONS:
            continue
        for ours, theirs in zip(pixels_of(image), shown["pixels"], strict=True):
            assert ours == pytest.approx(theirs, abs=12), name
