from typing import Any

import pytest
from label_studio_sdk.label_interface.interface import LabelInterface

from backend.config_command import labeling_config
from backend.jobs import SegmentJob
from backend.label_config import MaskControl, parse_label_config
from backend.prompts import LabelledPrompt, newest_prompt
from backend.queue import LOST_WORKERS, JobOutcome
from backend.status_message import FAILED, MAX_MESSAGE_CHARACTERS, STILL_WORKING, StatusArea

CONFIG = labeling_config(["cat", "zebra"], status=True)
CAT, ZEBRA = LabelledPrompt("the cat", "cat"), LabelledPrompt("the zebra", "zebra")
AREA = StatusArea("status", "image", "demo-1")


def region(id_: str, prompt: str) -> dict[str, Any]:
    return {
        "id": id_,
        "from_name": "mask",
        "to_name": "image",
        "type": "brushlabels",
        "origin": "prediction",
        "original_width": 2,
        "original_height": 2,
        "value": {"format": "rle", "rle": [0, 0, 0, 16], "brushlabels": ["cat"]},
        "meta": {"prompt": prompt},
    }


def job(*prompts: LabelledPrompt) -> SegmentJob:
    return SegmentJob("a.png", prompts, MaskControl("mask", "image", "brushlabels"), "demo-1")


def finished(*regions: dict[str, Any]) -> JobOutcome:
    result = {"result": list(regions), "score": 0.5, "model_version": "demo-1"}
    return JobOutcome("finished", result)


def message(prediction: dict[str, Any]) -> str:
    *_, status = prediction["result"]
    assert (status["type"], status["from_name"]) == ("textarea", "status")
    (text,) = status["value"]["text"]
    return str(text)


@pytest.mark.parametrize(
    ("regions", "said"),
    [
        ([region("a", "the cat"), region("b", "the zebra")], "2 regions"),
        ([region("a", "the cat")], '1 region; nothing found for "the zebra"'),
        # Brush with Labels: two results are one region.
        ([region("a", "the cat")] * 2, '1 region; nothing found for "the zebra"'),
        ([], 'nothing found for "the cat", "the zebra"'),
    ],
)
def test_it_says_what_was_found_for_which_prompt(regions: list[dict[str, Any]], said: str) -> None:
    prediction = AREA.told(job(CAT, ZEBRA), finished(*regions))
    assert message(prediction) == said
    assert prediction["result"][:-1] == regions
    assert LabelInterface(CONFIG).validate_prediction(prediction, return_errors=True) == []


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (
            JobOutcome("failed", reason="backend.errors.ImageError: No image: it is HTML."),
            "image could not be read: No image: it is HTML.",
        ),
        (
            JobOutcome("failed", reason="backend.errors.LabelStudioError: It is down."),
            "It is down.",
        ),
        (JobOutcome("failed", reason="ValueError: https://host/?token=secret"), FAILED),
        (JobOutcome("failed", reason="the second line of a message"), FAILED),
        (JobOutcome("failed", reason=LOST_WORKERS), LOST_WORKERS),
        (JobOutcome("unfinished"), STILL_WORKING),
    ],
)
def test_it_says_why_there_is_no_answer(outcome: JobOutcome, said: str) -> None:
    prediction = AREA.told(job(CAT), outcome)
    assert message(prediction) == said
    assert LabelInterface(CONFIG).validate_prediction(prediction, return_errors=True) == []


def test_a_long_message_is_cut_and_every_message_has_the_same_id() -> None:
    long, short = AREA.alone("x" * 1000), AREA.alone("x")
    assert len(message(long)) == MAX_MESSAGE_CHARACTERS
    assert message(long).endswith("x…")
    assert long["result"][0]["id"] == short["result"][0]["id"]


def test_a_message_is_never_taken_for_a_prompt() -> None:
    config = parse_label_config(CONFIG)
    assert (config.prompt_name, config.status_name) == ("prompt", "status")
    told = AREA.alone("2 regions")["result"]
    assert newest_prompt({"result": told}, config) is None
    typed = {"from_name": "prompt", "value": {"text": ["the cat"]}}
    assert newest_prompt({"result": [typed, *told]}, config) == "the cat"


@pytest.mark.parametrize(
    "tag",
    [
        '<TextArea name="status" toName="image"/>',
        '<TextArea name="status" toName="image" smart="false" perRegion="true"/>',
        '<TextArea name="remarks" toName="image" smart="false"/>',
    ],
)
def test_other_text_areas_are_told_nothing(tag: str) -> None:
    config = labeling_config(["cat"]).replace("</View>", f"{tag}</View>")
    assert parse_label_config(config).status_name is None
