"""An image and a prompt tried on the status page, with a real worker process."""

import base64
import html
import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from backend.app import create_app
from backend.queue import JobQueue
from backend.settings import Settings
from tests.contract.scene import scene

pytestmark = pytest.mark.timeout(90)

SETTINGS = {"max_image_mb": 1}


@pytest.fixture
def client(settings: Settings, queue: JobQueue) -> Iterator[TestClient]:
    with TestClient(create_app(settings.model_copy(update=SETTINGS), queue)) as client:
        yield client


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def post(client: TestClient, image: bytes, prompt: str) -> Any:
    form = {"image": ("picture.png", image)}
    return client.post("/trials", files=form, data={"prompt": prompt})


def result(client: TestClient, image: bytes, prompt: str) -> str:
    """The page of the result, after as many pages that wait as it takes."""
    page = post(client, image, prompt)
    while "Waiting for a worker" in page.text:
        page = client.get(str(page.url))
    return str(page.text)


def picture(page: str) -> Image.Image:
    (encoded,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    return Image.open(io.BytesIO(base64.b64decode(encoded)))


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def test_the_mask_is_shown_on_the_image(client: TestClient, colour_worker: None) -> None:
    page = result(client, png(scene()), 'the "red" <square>')
    assert html.escape('the "red" <square>') in page
    assert "score 0.75" in page
    # In the red square's middle, and in the blue disc's.
    plain, shown = scene(), picture(page)
    assert pixel(shown, 18, 18) != pytest.approx(pixel(plain, 18, 18), abs=15)
    assert pixel(shown, 47, 31) == pytest.approx(pixel(plain, 47, 31), abs=15)
    recent = client.get("/jobs").json()["recent"]
    assert {each["image"] for each in recent} == {"upload:"}


def test_when_nothing_is_found_the_image_is_shown_alone(
    client: TestClient, colour_worker: None
) -> None:
    page = result(client, png(scene()), "green")
    assert "nothing there fits the prompt" in page
    assert picture(page).size == scene().size


def test_what_is_no_image_fails_with_the_reason(client: TestClient, colour_worker: None) -> None:
    assert "not an image that can be read" in result(client, b"text", "red")


def test_without_a_worker_the_page_waits(client: TestClient) -> None:
    page = post(client, png(scene()), "red")
    assert page.status_code == 200
    assert "Waiting for a worker" in page.text
    assert 'http-equiv="refresh"' in page.text


@pytest.mark.parametrize("trial", ["0" * 64, "short", "../../etc"])
def test_an_unknown_trial_is_not_found(client: TestClient, trial: str) -> None:
    assert client.get(f"/trials/{trial}").status_code == 404


@pytest.mark.parametrize(("image", "prompt"), [(b"", "red"), (b"x", " "), (b"x", "r" * 501)])
def test_an_incomplete_form_is_refused(client: TestClient, image: bytes, prompt: str) -> None:
    assert post(client, image, prompt).json()["error"] == "bad_request"


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=b", None])
def test_what_is_no_form_is_refused(client: TestClient, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    reply = client.post("/trials", content=b"nonsense", headers=headers)
    assert reply.json()["error"] == "bad_request"


def test_a_file_over_the_limit_is_refused(client: TestClient) -> None:
    reply = post(client, bytes(2 * 2**20), "red")
    assert reply.status_code == 413
    assert "SELF1E_MAX_IMAGE_MB" in reply.json()["detail"]


def test_another_sites_form_is_refused(client: TestClient) -> None:
    form = {"image": ("picture.png", png(scene()))}
    headers = {"Sec-Fetch-Site": "cross-site"}
    reply = client.post("/trials", files=form, data={"prompt": "red"}, headers=headers)
    assert reply.status_code == 400
