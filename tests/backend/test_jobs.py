import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import BadRequestError
from backend.jobs import SegmentJob, job_for_task
from backend.label_config import EXAMPLE_CONFIG, Label, MaskControl, parse_label_config
from backend.parameters import MaskParameters
from backend.prompts import LabelledPrompt

CONFIG = parse_label_config(EXAMPLE_CONFIG)
JOB = SegmentJob(
    image_url="/data/upload/1/street.png",
    prompts=(LabelledPrompt("the red car", "car"), LabelledPrompt("everybody", "person")),
    control=MaskControl("mask", "image", "brushlabels"),
    model_version="demo-1a2b3c4d",
    task_id=7,
)


def context(text: str) -> dict[str, Any]:
    return {"result": [{"from_name": "prompt", "value": {"text": [text]}}]}


def test_a_job_travels_as_json() -> None:
    assert SegmentJob.from_dict(json.loads(json.dumps(JOB.to_dict()))) == JOB


def test_a_job_with_labels_travels_as_json() -> None:
    labels = (Label("veh-1", "Car", "veh-1", "every car"), Label("bus", "bus"))
    job = replace(JOB, control=replace(JOB.control, labels=labels, labels_key="labels"))
    assert SegmentJob.from_dict(json.loads(json.dumps(job.to_dict()))) == job


def test_the_id_is_the_same_in_every_process() -> None:
    assert JOB.id == "49ce56c1fdec1e420c0e391fc1a441b2d247955533c2ff3f7adb0f94e3d0ba44"


def test_the_task_does_not_change_the_id_but_whatever_determines_the_result_does() -> None:
    assert replace(JOB, task_id=8).id == JOB.id
    others = [
        replace(JOB, image_url="/data/upload/1/other.png"),
        replace(JOB, model_version="demo-2"),
        replace(JOB, prompts=JOB.prompts[:1]),
        replace(JOB, prompts=(LabelledPrompt("the red car", "person"), JOB.prompts[1])),
        replace(JOB, prompts=(LabelledPrompt("the car", "car"), JOB.prompts[1])),
        replace(JOB, control=replace(JOB.control, from_name="other")),
        replace(JOB, control=replace(JOB.control, to_name="other")),
        replace(JOB, control=replace(JOB.control, kind="brush+labels")),
        replace(JOB, control=replace(JOB.control, labels_name="other")),
        replace(JOB, parameters=MaskParameters(threshold=0.4)),
        replace(JOB, parameters=MaskParameters(mode="each")),
    ]
    assert len({JOB.id, *(other.id for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    "change",
    [
        {"image_url": None},
        {"prompts": "car"},
        {"prompts": [{"text": "car"}]},
        {"control": {"from_name": "mask"}},
        {"control": {**JOB.to_dict()["control"], "kind": "ellipselabels"}},
        {"model_version": 3},
        {"task_id": [7]},
        {"parameters": {"threshold": 1.5}},
        {"parameters": {"mode": "some"}},
    ],
)
def test_what_is_no_job_is_refused_by_field(change: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError, match=next(iter(change))):
        SegmentJob.from_dict(JOB.to_dict() | change)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*JOB.to_dict()]),
        st.none() | st.integers() | st.text() | st.lists(st.text() | st.integers()),
    )
)
def test_any_dict_is_a_job_or_refused(change: dict[str, Any]) -> None:
    data = JOB.to_dict() | change
    try:
        job = SegmentJob.from_dict(data)
    except BadRequestError:
        return
    assert SegmentJob.from_dict(job.to_dict()) == job
    assert len(job.id) == 64


def test_the_job_of_a_task_has_its_image_its_prompt_and_a_control_without_labels() -> None:
    task = {"id": 7, "data": {"image": "/data/upload/1/street.png"}, "annotations": [{}]}
    assert job_for_task(task, context("the red car"), CONFIG, "demo-1a2b3c4d") == SegmentJob(
        image_url="/data/upload/1/street.png",
        prompts=(LabelledPrompt("the red car", "car"),),
        control=MaskControl("mask", "image", "brushlabels"),
        model_version="demo-1a2b3c4d",
        task_id=7,
    )


def test_a_batch_job_asks_for_every_label() -> None:
    job = job_for_task({"id": 7, "data": {"image": "a.png"}}, None, CONFIG, "demo")
    assert job is not None
    assert [prompt.label for prompt in job.prompts] == ["car", "person"]


def test_a_job_has_the_parameters_that_the_annotator_has_set() -> None:
    config = parse_label_config(
        """<View><Image name="image" value="$image"/><TextArea name="prompt" toName="image"/>
        <PolygonLabels name="mask" toName="image"><Label value="car"/></PolygonLabels>
        <Number name="threshold" toName="image" defaultValue="0.3"/></View>"""
    )
    task = {"id": 7, "data": {"image": "a.png"}}
    asked = context("the red car")
    default = job_for_task(task, asked, config, "demo")
    asked["result"].insert(0, {"from_name": "threshold", "value": {"number": 0.7}})
    changed = job_for_task(task, asked, config, "demo")
    assert default is not None
    assert changed is not None
    assert (default.parameters.threshold, changed.parameters.threshold) == (0.3, 0.7)
    assert default.id != changed.id
    assert SegmentJob.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed


def test_when_nothing_is_asked_there_is_no_job() -> None:
    assert job_for_task({"id": 7, "data": {"image": "a.png"}}, {"result": []}, CONFIG, "v") is None


@pytest.mark.parametrize("data", [{}, {"image": None}, {"image": " "}, {"image": ["a.png"]}, None])
def test_a_task_without_an_image_is_refused_by_number(data: object) -> None:
    with pytest.raises(BadRequestError, match=r'Task 7 .* "image"'):
        job_for_task({"id": 7, "data": data}, None, CONFIG, "demo")


@pytest.mark.parametrize(("given_id", "task_id"), [(7, 7), ("7", "7"), (None, None), ([], None)])
def test_a_task_that_was_never_saved_has_no_id(given_id: object, task_id: object) -> None:
    job = job_for_task({"id": given_id, "data": {"image": "a.png"}}, None, CONFIG, "demo")
    assert job is not None
    assert job.task_id == task_id


@pytest.mark.parametrize(
    ("asked", "mode", "separate"),
    [
        (None, "", True),
        (None, '<Choice value="each"/>', False),
        (None, '<Choice value="each" selected="true"/>', True),
        (context("the car"), "", False),
    ],
)
def test_regions_of_a_batch_are_as_the_setting_says_unless_the_config_has_a_control(
    asked: dict[str, Any] | None, mode: str, separate: bool
) -> None:
    control = f'<Choices name="mode" toName="image">{mode}</Choices>' if mode else ""
    config = parse_label_config(EXAMPLE_CONFIG.replace("</View>", f"{control}</View>"))
    task = {"id": 7, "data": {"image": "a.png"}}
    job = job_for_task(task, asked, config, "demo", separate_in_batch=True)
    assert job is not None
    assert job.parameters.mode == ("each" if separate else "everything")
