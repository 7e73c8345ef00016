"""The recorded requests against the whole service; only the model is a small one."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from label_studio_sdk.label_interface.interface import LabelInterface

from backend.app import create_app
from backend.brush_rle import decode_mask
from backend.child_process import ChildProcess
from backend.queue import JobQueue
from backend.redis_server import embedded_redis
from backend.settings import Settings
from tests.contract.recorded import RecordedRequest, recorded_requests
from tests.contract.scene import colour_mask, scene, scene_server


@dataclass(frozen=True)
class Service:
    """The service under test, and where its images are."""

    client: TestClient
    images_url: str
    queue: JobQueue

    def replay(self, request: RecordedRequest) -> Any:
        """Sends a recorded request, with its uploads' URLs leading to the scene."""
        body = json.dumps(request.body).replace('"/data/', f'"{self.images_url}/data/')
        content = None if request.body is None else body
        reply = self.client.request(request.method, request.path, content=content)
        assert reply.status_code == 200, reply.text
        return reply.json()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    model = tmp_path_factory.mktemp("model") / "colours"
    model.mkdir()
    (model / "config.json").write_text("{}")
    data_dir = tmp_path_factory.mktemp("data")
    environment = {
        **os.environ,
        "SELF1E_MODEL": str(model),
        "SELF1E_DATA_DIR": str(data_dir),
        "SELF1E_PRIVATE_IMAGE_HOSTS": "127.0.0.1",
    }
    settings = Settings.model_validate(
        {"model": str(model), "data_dir": data_dir, "redis_url": "", "webhook_secret": ""}
    )
    with scene_server() as images_url, embedded_redis(data_dir):
        worker = ChildProcess(
            [sys.executable, "-m", "tests.contract.colour_worker"], environment=environment
        )
        queue = JobQueue.from_settings(settings)
        try:
            with TestClient(create_app(settings, queue)) as client:
                yield Service(client, images_url, queue)
        finally:
            queue.close()
            worker.stop(10.0)


def version(service: Service) -> str:
    (request,) = recorded_requests("/versions")
    (name,) = service.replay(request)["versions"]
    assert isinstance(name, str)
    return name


def test_health(service: Service) -> None:
    (request,) = recorded_requests("/health")
    assert service.replay(request)["status"] == "UP"


@pytest.mark.parametrize("request_", recorded_requests("/setup"), ids=lambda each: each.name)
def test_setup_names_the_version_that_predictions_have(
    service: Service, request_: RecordedRequest
) -> None:
    assert service.replay(request_) == {"model_version": version(service)}


def test_a_new_project_may_connect_before_its_labeling_is_set_up(service: Service) -> None:
    setup = recorded_requests("/setup")[0]
    body = setup.body | {"schema": "<View></View>"}
    assert service.replay(replace(setup, body=body)) == {"model_version": version(service)}


REGIONS = {
    "brushlabels-predict-batch": [["red square", "blue"]] * 2,
    "brushlabels-predict-interactive": [["red square"]],
    "brushlabels-predict-no-context": [["red square", "blue"]],
    "brush-labels-predict-batch": [["red square", "blue disc"]] * 2,
    "brush-labels-predict-interactive": [["red square"]],
    "brush-labels-predict-no-context": [["red square", "blue disc"]],
}


@pytest.mark.parametrize("request_", recorded_requests("/predict"), ids=lambda each: each.name)
def test_predict_answers_every_task_as_label_studio_demands(
    service: Service, request_: RecordedRequest
) -> None:
    # Else what another request asked of the same project would be asked again.
    service.queue.redis.flushdb()
    predictions = service.replay(request_)["results"]
    interface = LabelInterface(request_.body["label_config"])
    assert [labels(prediction["result"]) for prediction in predictions] == REGIONS[request_.name]
    pixels = np.asarray(scene())
    for prediction in predictions:
        assert interface.validate_prediction(prediction, return_errors=True) == []
        assert prediction["model_version"] == version(service)
        assert prediction["score"] == 0.75
        for region in prediction["result"]:
            mask = decode_mask(region["value"]["rle"], 48, 64)
            np.testing.assert_array_equal(mask, colour_mask(pixels, region["meta"]["prompt"]))


def labels(result: list[dict[str, Any]]) -> list[str]:
    """The labels of a prediction's regions, in their order."""
    return [
        label
        for region in result
        for label in region["value"].get(region["type"], [])
        if region["type"] in ("brushlabels", "labels")
    ]


@pytest.mark.parametrize("request_", recorded_requests("/predict"), ids=lambda each: each.name)
def test_the_same_request_again_gives_the_same_regions(
    service: Service, request_: RecordedRequest
) -> None:
    assert service.replay(request_) == service.replay(request_)


@pytest.mark.parametrize("request_", recorded_requests("/webhook"), ids=lambda each: each.name)
def test_webhooks_are_acknowledged(service: Service, request_: RecordedRequest) -> None:
    service.replay(request_)
