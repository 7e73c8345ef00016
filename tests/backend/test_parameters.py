from typing import Any

import pytest

from backend.config_tags import read_config_tags
from backend.errors import BadRequestError, LabelConfigError
from backend.parameters import (
    MaskParameters,
    ModeControl,
    ParameterControls,
    ThresholdControl,
    find_parameter_controls,
)

NUMBER = '<Number name="threshold" toName="image" defaultValue="0.4" min="0" max="1" step="0.1"/>'
MODE = """<Choices name="mode" toName="image" choice="single-radio">
  <Choice value="all" selected="true"/><Choice value="Each instance"/></Choices>"""


def controls(*tags: str) -> ParameterControls:
    return find_parameter_controls(read_config_tags(f"<View>{''.join(tags)}</View>"), "image")


def context(**values: Any) -> dict[str, Any]:
    """What the annotator has set, by control."""
    kinds = {"threshold": "number", "mode": "choices"}
    return {
        "result": [
            {"from_name": name, "to_name": "image", "value": {kinds[name]: value}}
            for name, value in values.items()
        ]
    }


def test_controls_are_found_by_name() -> None:
    assert controls(NUMBER, MODE) == ParameterControls(
        ThresholdControl("threshold", 0.4),
        ModeControl("mode", {"all": "everything", "Each instance": "each"}),
    )


@pytest.mark.parametrize(
    "tag",
    [
        '<Number name="count" toName="image"/>',
        '<Number name="threshold" toName="text"/>',
        '<Number name="threshold" toName="image" perRegion="true"/>',
        '<Choices name="mode" toName="image"><Choice value="day"/></Choices>',
        '<Choices name="mode" toName="image"><Choice value="all"/></Choices>',
        '<Choices name="kind" toName="image"><Choice value="each"/></Choices>',
        '<Rating name="threshold" toName="image"/>',
    ],
)
def test_a_projects_other_controls_are_none_of_ours(tag: str) -> None:
    assert controls(tag) == ParameterControls()


def test_an_alias_is_what_a_choice_is_called_in_results() -> None:
    mode = """<Choices name="mode" toName="image"><Choice value="alle"/>
      <Choice value="jedes einzeln" alias="each" selected="true"/></Choices>"""
    assert controls(mode).mode == ModeControl("mode", {"each": "each"}, "each")
    mode = """<Choices name="mode" toName="image"><Choice value="each" alias="1"/></Choices>"""
    assert controls(mode).mode == ModeControl("mode", {"1": "each"})


def test_without_controls_and_without_a_context_the_defaults_count() -> None:
    assert controls().read(context(threshold=0.9)) == MaskParameters(0.5, mode="everything")
    assert controls(NUMBER, MODE).read(None) == MaskParameters(0.4, mode="everything")
    assert controls(NUMBER, MODE).read({"result": []}) == MaskParameters(0.4, mode="everything")
    selected = MODE.replace(' selected="true"', "").replace("instance", 'instance" selected="true')
    assert controls(selected).read(None) == MaskParameters(0.5, mode="each")


def test_what_the_annotator_has_set_counts_more() -> None:
    set_ = context(threshold=0.7, mode=["Each instance"])
    assert controls(NUMBER, MODE).read(set_) == MaskParameters(0.7, mode="each")
    selected = MODE.replace("instance", 'instance" selected="true')
    assert controls(selected).read(context(mode=["all"])).mode == "everything"
    assert controls(selected).read(context(mode=["something else"])).mode == "everything"
    assert controls(selected).read(context(mode=[])).mode == "each"


def test_the_largest_piece_alone_can_be_asked_for_and_be_the_default() -> None:
    mode = """<Choices name="mode" toName="image"><Choice value="One" selected="true"/>
      <Choice value="everything"/></Choices>"""
    assert controls(mode).read(None).mode == "one"
    assert controls(mode).read(context(mode=["everything"])).mode == "everything"


@pytest.mark.parametrize("number", [0, 1, 0.25])
def test_a_threshold_goes_from_zero_to_one(number: float) -> None:
    threshold = controls(NUMBER).read(context(threshold=number)).threshold
    assert threshold == number
    assert type(threshold) is float


@pytest.mark.parametrize("number", [-0.1, 1.1, 50, float("nan"), 10**400, "0.5", True, [0.5]])
def test_another_threshold_is_refused(number: object) -> None:
    with pytest.raises(BadRequestError, match=r"threshold.*from 0 to 1"):
        controls(NUMBER).read(context(threshold=number))


@pytest.mark.parametrize("default", ["50", "-1", "nan", "half"])
def test_a_config_with_another_default_is_refused(default: str) -> None:
    with pytest.raises(LabelConfigError, match=f'"{default}"'):
        controls(NUMBER.replace("0.4", default))


def test_a_number_without_a_value_or_a_default_is_one_half() -> None:
    bare = '<Number name="Threshold" toName="image"/>'
    assert controls(bare) == ParameterControls(ThresholdControl("Threshold", 0.5))
    assert controls(NUMBER).read(context(threshold=None)).threshold == 0.4
