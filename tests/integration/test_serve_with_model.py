"""The whole backend as `python -m backend serve` runs it, with a real (tiny) model."""

import io
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import requests
from label_studio_sdk.label_interface.interface import LabelInterface
from PIL import Image

from backend.brush_rle import decode_mask
from backend.versions import model_version
from tests.integration.conftest import Serve, read_until
from tests.tiny_model import write_tiny_model
from tests.web_server import Reply, web_server

pytestmark = pytest.mark.timeout(180)

WIDTH, HEIGHT = 120, 90
CONFIG = """\
<View>
  <Image name="image" value="$image"/>
  <TextArea name="prompt" toName="image"/>
  <BrushLabels name="mask" toName="image"><Label value="dog"/></BrushLabels>
</View>"""


def photo() -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((WIDTH, HEIGHT)).save(buffer, "PNG")
    return buffer.getvalue()


def ask(url: str, image_url: str, prompt: str) -> Any:
    """The item that an annotator's prompt gets."""
    text = {"from_name": "prompt", "type": "textarea", "value": {"text": [prompt]}}
    body = {
        "tasks": [{"id": 1, "data": {"image": image_url}}],
        "project": "1.1",
        "label_config": CONFIG,
        "params": {"context": {"result": [text]}},
    }
    reply = requests.post(f"{url}/predict", json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    (item,) = reply.json()["results"]
    return item


def test_a_prompt_becomes_a_mask_also_after_the_worker_was_killed(
    serve: Serve, port: int, tmp_path: Path
) -> None:
    model = write_tiny_model(tmp_path / "tiny")
    version = model_version(str(model))
    backend = serve(SELF1E_MODEL=str(model), SELF1E_PRIVATE_IMAGE_HOSTS="127.0.0.1")
    url = f"http://127.0.0.1:{port}"
    with web_server(lambda _: Reply(body=photo())) as images:
        output = read_until(backend, "Ready")
        assert f"Ready ({version})" in output
        (worker,) = re.findall(r"event=ready .*pid=(\d+)", output)
        item = ask(url, f"{images.url}/1.png", "the left dog")
        assert LabelInterface(CONFIG).validate_prediction(item)
        assert item["model_version"] == version
        (region,) = item["result"]
        assert (region["original_height"], region["original_width"]) == (HEIGHT, WIDTH)
        assert decode_mask(region["value"]["rle"], HEIGHT, WIDTH).any()
        assert "cached=False" in read_until(backend, "event=job")

        assert ask(url, f"{images.url}/1.png", "a red car")["result"]
        assert "cached=True" in read_until(backend, "event=job")

        os.kill(int(worker), signal.SIGKILL)
        assert ask(url, f"{images.url}/1.png", "tree")["result"]
    backend.send_signal(signal.SIGINT)
    backend.communicate(timeout=30)
    assert backend.returncode == 0
