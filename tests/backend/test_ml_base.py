"""The model inside label-studio-ml's own server, which gets the requests Label Studio sends."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from label_studio_sdk.label_interface.interface import LabelInterface

from backend.brush_rle import decode_mask
from tests.contract.recorded import RecordedRequest, recorded_requests
from tests.contract.scene import colour_mask, scene, scene_server
from tests.tiny_model import write_tiny_model


@dataclass(frozen=True)
class Host:
    """A running label-studio-ml server, and where the images are."""

    url: str
    images_url: str
    data_dir: Path

    def post(self, path: str, body: Any) -> requests.Response:
        text = json.dumps(body).replace('"/data/', f'"{self.images_url}/data/')
        headers = {"Content-Type": "application/json"}
        return requests.post(self.url + path, data=text, headers=headers, timeout=60)


@contextmanager
def running_host(model: Path, data_dir: Path, what: str) -> Iterator[Host]:
    environment = os.environ | {
        "SELF1E_MODEL": str(model),
        "SELF1E_DEVICE": "cpu",
        "SELF1E_DATA_DIR": str(data_dir),
        "SELF1E_PRIVATE_IMAGE_HOSTS": "127.0.0.1",
    }
    command = [sys.executable, "-m", "tests.contract.ml_base_server", what]
    with (
        scene_server() as images_url,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        assert port, "the host has ended; see its error above"
        try:
            yield Host(f"http://127.0.0.1:{port}", images_url, data_dir)
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Hosts the model of colours, whose masks are known."""
    model = tmp_path_factory.mktemp("colours")
    with running_host(model, tmp_path_factory.mktemp("data"), "colours") as host:
        yield host


def predict(host: Host, request: RecordedRequest) -> list[Any]:
    """Sends /setup and then /predict, as Label Studio does; gives one item per task."""
    setup = {"project": request.body["project"], "schema": request.body["label_config"]}
    assert host.post("/setup", setup).json() == {"model_version": "INITIAL"}
    reply = host.post("/predict", request.body)
    assert reply.status_code == 200, reply.text
    results = reply.json()["results"]
    assert isinstance(results, list)
    return results


@pytest.mark.parametrize("request_", recorded_requests("/predict"), ids=lambda each: each.name)
def test_it_answers_every_task_as_label_studio_demands(
    host: Host, request_: RecordedRequest
) -> None:
    predictions = predict(host, request_)
    assert len(predictions) == len(request_.body["tasks"])
    interface = LabelInterface(request_.body["label_config"])
    pixels = np.asarray(scene())
    for prediction in predictions:
        assert prediction.keys() == {"result", "score"}
        assert interface.validate_prediction(prediction, return_errors=True) == []
        assert prediction["result"]
        for region in prediction["result"]:
            mask = decode_mask(region["value"]["rle"], 48, 64)
            np.testing.assert_array_equal(mask, colour_mask(pixels, region["meta"]["prompt"]))
    assert predict(host, request_) == predictions


def recorded(name: str) -> RecordedRequest:
    (request,) = [each for each in recorded_requests("/predict") if each.name == name]
    return request


def test_a_task_that_fails_leaves_the_others(host: Host) -> None:
    request = recorded("brushlabels-predict-batch")
    request.body["tasks"][0]["data"]["image"] = "http://127.0.0.1:1/nothing-there.png"
    failed, other = predict(host, request)
    assert failed == []
    assert len(other["result"]) == 2


def test_a_context_without_a_prompt_asks_for_nothing(host: Host) -> None:
    request = recorded("brushlabels-predict-interactive")
    request.body["params"]["context"]["result"] = []
    assert predict(host, request) == [[]]


def test_what_is_not_there_is_an_empty_prediction(host: Host) -> None:
    request = recorded("brushlabels-predict-interactive")
    request.body["params"]["context"]["result"][-1]["value"]["text"] = ["the green star"]
    assert predict(host, request) == [{"result": [], "score": 0.75}]


def test_an_unusable_config_is_refused_with_the_reason(host: Host) -> None:
    request = recorded("brushlabels-predict-batch")
    host.post("/setup", {"project": request.body["project"], "schema": "<View/>"})
    reply = host.post("/predict", request.body)
    assert reply.status_code == 500
    assert "Image tag" in reply.text


def test_events_are_acknowledged_and_leave_nothing_behind(host: Host) -> None:
    for event in recorded_requests("/webhook"):
        assert host.post("/webhook", event.body).status_code == 200
    assert [path for path in host.data_dir.rglob("*") if path.is_file()] == []
    assert predict(host, recorded("brushlabels-predict-interactive"))[0] != []


def test_it_loads_the_model_that_the_settings_name(tmp_path: Path) -> None:
    request = recorded("brushlabels-predict-interactive")
    model = write_tiny_model(tmp_path / "tiny")
    with running_host(model, tmp_path / "data", "loaded") as host:
        (prediction,) = predict(host, request)
    (region,) = prediction["result"]
    assert region["meta"]["model_version"].startswith("tiny-")
    assert decode_mask(region["value"]["rle"], 48, 64).any()
