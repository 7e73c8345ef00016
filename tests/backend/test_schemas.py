import json
from typing import Any

import pytest
from pydantic import ValidationError

from backend.schemas import MAX_TASKS, PredictRequest, SetupRequest, WebhookRequest

PREDICT: dict[str, Any] = {"tasks": [{"data": {}}], "label_config": "<View/>"}


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def test_what_is_not_used_is_dropped() -> None:
    request = PredictRequest.model_validate_json(
        body(
            {
                "tasks": [{"id": 7, "data": {"image": "a.png"}, "annotations": [{"result": []}]}],
                "project": "1.1795344866",
                "label_config": "<View/>",
                "params": {"login": "annotator", "password": "secret", "context": {"result": []}},
            }
        )
    )
    assert request.model_dump() == {
        "tasks": [{"id": 7, "data": {"image": "a.png"}}],
        "label_config": "<View/>",
        "params": {"context": {"result": []}},
        "project": "1.1795344866",
    }


@pytest.mark.parametrize(
    ("project", "key"),
    [
        ("4.1795344895", "4.1795344895"),
        (None, ""),
        (4, ""),
        ("4", ""),
        ("4.1795344895\n", ""),
        ("../4.1795344895", ""),
        ("4.17953448951795344895", ""),
    ],
)
def test_a_project_is_known_by_its_id_and_its_time_of_creation(project: object, key: str) -> None:
    request = PredictRequest.model_validate_json(body(PREDICT | {"project": project}))
    assert request.project_key == key


def test_a_request_may_name_no_project() -> None:
    assert PredictRequest.model_validate_json(body(PREDICT)).project_key == ""


@pytest.mark.parametrize("params", [{}, {"params": {}}, {"params": {"context": None}}])
def test_a_batch_has_no_context(params: dict[str, Any]) -> None:
    assert PredictRequest.model_validate_json(body(PREDICT | params)).params.context is None


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"tasks": None}, "tasks"),
        ({"tasks": [{"id": 1}]}, "tasks.0.data"),
        ({"tasks": [{"data": {}}, {"data": "a.png"}]}, "tasks.1.data"),
        ({"label_config": 3}, "label_config"),
        ({"params": {"context": "car"}}, "params.context"),
    ],
)
def test_what_is_used_must_have_its_form(change: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as error:
        PredictRequest.model_validate_json(body(PREDICT | change))
    assert ".".join(map(str, error.value.errors()[0]["loc"])) == where


def test_a_request_may_have_as_many_tasks_as_the_limit_and_no_more() -> None:
    tasks = PREDICT["tasks"] * MAX_TASKS
    request = PredictRequest.model_validate_json(body(PREDICT | {"tasks": tasks}))
    assert len(request.tasks) == MAX_TASKS
    with pytest.raises(ValidationError, match=str(MAX_TASKS)):
        PredictRequest.model_validate_json(body(PREDICT | {"tasks": [*tasks, tasks[0]]}))


def test_the_labeling_config_of_setup_is_its_schema() -> None:
    setup = SetupRequest.model_validate_json(body({"schema": "<View/>", "access_token": "s3cret"}))
    assert setup.model_dump() == {"label_config": "<View/>"}


def test_a_webhook_needs_its_action() -> None:
    assert WebhookRequest.model_validate_json(body({"action": "TASKS_CREATED"})).project is None
    with pytest.raises(ValidationError, match="action"):
        WebhookRequest.model_validate_json(body({"project": {"id": 1}}))
