import json

import numpy as np
import pytest
from label_studio_sdk.label_interface.interface import LabelInterface

from backend.jobs import job_for_task
from backend.label_config import parse_label_config
from backend.regions import mask_regions
from backend.schemas import PredictRequest, SetupRequest, WebhookRequest
from tests.contract.recorded import RecordedRequest, recorded_requests

MASK = np.zeros((48, 64), dtype=np.bool_)
MASK[8:28, 6:30] = True


def name(request: RecordedRequest) -> str:
    return request.name


def body(request: RecordedRequest) -> bytes:
    return json.dumps(request.body).encode()


@pytest.mark.parametrize("request_", recorded_requests("/setup"), ids=name)
def test_setup_brings_the_labeling_config(request_: RecordedRequest) -> None:
    setup = SetupRequest.model_validate_json(body(request_))
    assert parse_label_config(setup.label_config).prompt_name == "prompt"


ASKED = {
    "brushlabels-predict-batch": [["the red square", "Blue disc"]] * 2,
    "brushlabels-predict-interactive": [["the red square"]],
    "brushlabels-predict-no-context": [["the red square", "Blue disc"]],
    "brush-labels-predict-batch": [["red square", "blue disc"]] * 2,
    "brush-labels-predict-interactive": [["the red square"]],
    "brush-labels-predict-no-context": [["red square", "blue disc"]],
}


@pytest.mark.parametrize("request_", recorded_requests("/predict"), ids=name)
def test_predict_gives_jobs_whose_regions_label_studio_accepts(request_: RecordedRequest) -> None:
    request = PredictRequest.model_validate_json(body(request_))
    config = parse_label_config(request.label_config)
    interface = LabelInterface(request.label_config)
    asked = []
    for task in request.tasks:
        job = job_for_task(task.model_dump(), request.params.context, config, "demo-1a2b3c4d")
        assert job is not None
        assert job.task_id == task.id
        assert job.image_url.startswith("/data/upload/")
        asked.append([prompt.text for prompt in job.prompts])
        regions = [
            region
            for prompt in job.prompts
            for region in mask_regions(
                MASK,
                0.9,
                prompt,
                job.control,
                parameters=job.parameters,
                image_digest=job.image_url,
                model_version=job.model_version,
            )
        ]
        prediction = {"result": regions, "score": 0.9, "model_version": job.model_version}
        assert interface.validate_prediction(prediction, return_errors=True) == []
        assert len({region["id"] for region in regions}) == len(job.prompts)
    assert asked == ASKED[request_.name]


@pytest.mark.parametrize("request_", recorded_requests("/webhook"), ids=name)
def test_webhooks_bring_the_action_and_the_project(request_: RecordedRequest) -> None:
    webhook = WebhookRequest.model_validate_json(body(request_))
    assert webhook.action == request_.name.split("webhook-")[1].replace("-", "_").upper()
    assert webhook.project is not None
    assert webhook.project.id == request_.body["project"]["id"]
