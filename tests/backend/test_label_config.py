from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.label_interface.interface import LabelInterface

from backend.errors import LabelConfigError
from backend.label_config import (
    EXAMPLE_CONFIG,
    MAX_MASK_CONTROLS,
    Label,
    LabelConfig,
    MaskControl,
    is_blank_config,
    parse_label_config,
    task_value,
)

IMAGE = '<Image name="image" value="$image"/>'
BRUSH_LABELS = '<BrushLabels name="mask" toName="image"><Label value="car"/></BrushLabels>'


def view(*tags: str) -> str:
    return f"<View>{''.join(tags)}</View>"


def test_the_example_of_the_error_messages_is_valid_for_label_studio() -> None:
    LabelInterface(EXAMPLE_CONFIG).validate()


def test_the_example_is_read() -> None:
    assert parse_label_config(EXAMPLE_CONFIG) == LabelConfig(
        image_name="image",
        image_key="image",
        prompt_name="prompt",
        outputs=(
            MaskControl(
                from_name="mask",
                to_name="image",
                kind="brushlabels",
                labels=(Label("car", "car"), Label("person", "person")),
            ),
        ),
    )


def test_brush_takes_the_labels_of_the_same_image() -> None:
    config = parse_label_config(
        view(
            IMAGE,
            '<Text name="text" value="$text"/>',
            '<Labels name="words" toName="text"><Label value="noun"/></Labels>',
            '<Labels name="class" toName="image"><Label value="car"/></Labels>',
            '<Brush name="brush" toName="image"/>',
        )
    )
    assert config.outputs == (
        MaskControl("brush", "image", "brush+labels", "class", (Label("car", "car"),)),
    )


def test_brush_without_labels_is_a_control_without_labels() -> None:
    config = parse_label_config(view(IMAGE, '<Brush name="brush" toName="image"/>'))
    assert config.control == MaskControl("brush", "image", "brush+labels")


@pytest.mark.parametrize("shape", ["Brush", "Bitmask", "Polygon", "Rectangle"])
def test_each_shape_has_a_tag_with_labels_and_one_beside_labels(shape: str) -> None:
    kind: Any = shape.lower()
    tag = f'<{shape}Labels name="mask" toName="image"><Label value="car"/></{shape}Labels>'
    control = parse_label_config(view(IMAGE, tag)).control
    labels = (Label("car", "car"),)
    assert control == MaskControl("mask", "image", kind + "labels", labels=labels)
    assert control.shape == kind
    control = parse_label_config(
        view(
            IMAGE,
            f'<{shape} name="mask" toName="image"/>',
            '<Labels name="class" toName="image"><Label value="car"/></Labels>',
        )
    ).control
    assert control == MaskControl("mask", "image", kind + "+labels", "class", labels)
    assert control.shape == kind


def test_masks_go_to_the_control_that_keeps_most_of_them() -> None:
    config = parse_label_config(
        view(
            IMAGE,
            '<RectangleLabels name="box" toName="image"><Label value="car"/></RectangleLabels>',
            '<Polygon name="outline" toName="image"/>',
            '<BitmaskLabels name="bits" toName="image"><Label value="car"/></BitmaskLabels>',
            '<PolygonLabels name="other" toName="image"><Label value="car"/></PolygonLabels>',
            BRUSH_LABELS,
        )
    )
    names = [control.from_name for control in config.outputs]
    assert names == ["mask", "bits", "outline", "other", "box"]
    assert config.control.from_name == "mask"


def test_parameters_are_the_images() -> None:
    number = '<Number name="threshold" toName="image" defaultValue="0.3"/>'
    config = parse_label_config(view(IMAGE, BRUSH_LABELS, number))
    assert config.parameters.read(None).threshold == 0.3


def test_of_two_alike_masks_go_to_the_first() -> None:
    second = '<BrushLabels name="parts" toName="image"><Label value="wheel"/></BrushLabels>'
    config = parse_label_config(view(IMAGE, BRUSH_LABELS, second))
    assert [control.from_name for control in config.outputs] == ["mask", "parts"]
    assert config.control.from_name == "mask"


def test_an_alias_is_what_a_region_carries() -> None:
    config = parse_label_config(
        view(
            IMAGE,
            '<BrushLabels name="mask" toName="image">'
            '<Label value="Car" alias="vehicle-1" prompt="every car"/><Label alias="only"/>'
            '<Label value="Car" alias="vehicle-1"/><Label background="red"/></BrushLabels>',
        )
    )
    assert config.control.labels == (
        Label("vehicle-1", "Car", "vehicle-1", "every car"),
        Label("only", "only", "only"),
    )


def test_the_image_is_the_one_a_mask_control_names() -> None:
    config = parse_label_config(
        view(
            '<Image name="thumbnail" value="$thumbnail"/>',
            '<Image name="image" value="$photo.url"/>',
            BRUSH_LABELS,
        )
    )
    assert (config.image_name, config.image_key) == ("image", "photo.url")


@pytest.mark.parametrize(
    ("areas", "prompt_name"),
    [
        (
            '<TextArea name="comment" toName="image"/><TextArea name="Prompt" toName="image"/>',
            "Prompt",
        ),
        ('<TextArea name="a" toName="image"/><TextArea name="b" toName="image"/>', "a"),
        (
            '<TextArea name="a" toName="image" smart="false"/><TextArea name="b" toName="image"/>',
            "b",
        ),
        ('<TextArea name="a" toName="image" perRegion="true"/>', None),
        ('<TextArea name="prompt" toName="other"/>', None),
        ('<TextArea name="prompt"/>', None),
        ("", None),
    ],
)
def test_the_prompt_is_named_so_or_is_the_first_smart_one(
    areas: str, prompt_name: str | None
) -> None:
    assert parse_label_config(view(IMAGE, BRUSH_LABELS, areas)).prompt_name == prompt_name


def test_the_prompt_may_start_with_a_value_of_the_task() -> None:
    area = '<TextArea name="prompt" toName="image" value="$question"/>'
    assert parse_label_config(view(IMAGE, BRUSH_LABELS, area)).prompt_key == "question"


@pytest.mark.parametrize(
    ("xml", "problem"),
    [
        (view(BRUSH_LABELS), "no Image tag"),
        (view('<Image value="$image"/>', BRUSH_LABELS), "no Image tag"),
        (view(IMAGE), 'toName="image"'),
        (view(IMAGE, '<BrushLabels name="mask" toName="photo"/>'), 'toName="image"'),
        (view(IMAGE, '<EllipseLabels name="box" toName="image"/>'), "no BrushLabels"),
        (view(IMAGE, '<Labels name="class" toName="image"/>'), "RectangleLabels"),
        (view('<Image name="image" valueList="$images"/>', BRUSH_LABELS), "valueList"),
        (view('<Image name="image" value="a.png"/>', BRUSH_LABELS), 'value="$image"'),
    ],
)
def test_an_unusable_config_is_refused_with_one_that_works(xml: str, problem: str) -> None:
    with pytest.raises(LabelConfigError) as error:
        parse_label_config(xml)
    assert problem in str(error.value)
    assert str(error.value).endswith(EXAMPLE_CONFIG)


def test_a_config_may_have_as_many_mask_controls_as_the_limit_and_no_more() -> None:
    brush = '<Brush name="brush" toName="image"/>'
    most = parse_label_config(view(IMAGE, brush * MAX_MASK_CONTROLS))
    assert len(most.outputs) == MAX_MASK_CONTROLS
    with pytest.raises(LabelConfigError, match=str(MAX_MASK_CONTROLS)):
        parse_label_config(view(IMAGE, brush * (MAX_MASK_CONTROLS + 1)))


@pytest.mark.parametrize(
    ("xml", "blank"),
    [
        ("", True),
        (" \n", True),
        ("<View></View>", True),
        ("<View><Header/></View>", True),
        (view(IMAGE), False),
    ],
)
def test_a_config_without_named_tags_is_blank(xml: str, blank: bool) -> None:
    assert is_blank_config(xml) is blank


DYNAMIC = parse_label_config(
    view(
        IMAGE,
        '<BrushLabels name="mask" toName="image" value="$labels">'
        '<Label value="car"/></BrushLabels>',
    )
)


def test_dynamic_labels_come_after_the_configs_own() -> None:
    task = {
        "data": {
            "labels": [
                {"value": "Bus", "alias": "bus-1", "background": "#fff"},
                "tram",
                {"value": "car"},
                {"value": 3},
                None,
            ]
        }
    }
    assert DYNAMIC.for_task(task).control.labels == (
        Label("car", "car"),
        Label("bus-1", "Bus", "bus-1"),
        Label("tram", "tram"),
    )


@pytest.mark.parametrize("data", [{}, {"labels": "car"}, {"labels": None}, None])
def test_a_task_without_dynamic_labels_leaves_the_configs_own(data: object) -> None:
    assert DYNAMIC.for_task({"data": data}) == DYNAMIC


@pytest.mark.parametrize(
    ("data", "key", "value"),
    [
        ({"image": "a.png"}, "image", "a.png"),
        ({"photo": {"url": "a.png"}}, "photo.url", "a.png"),
        ({"photo.url": "flat", "photo": {"url": "deep"}}, "photo.url", "flat"),
        ({"photo": "a.png"}, "photo.url", None),
        ({}, "image", None),
        ({"image": "a.png"}, None, None),
        (None, "image", None),
    ],
)
def test_task_value(data: Any, key: str | None, value: object) -> None:
    assert task_value({"data": data}, key) == value


VALUES = st.sampled_from(["image", "other", "prompt", "", "$image", "$labels", "true", "false"])
NAMES = st.sampled_from(["name", "toName", "value", "valueList", "alias", "smart", "perRegion"])
KINDS = st.sampled_from(
    ["Image", "BrushLabels", "Brush", "Polygon", "RectangleLabels", "Labels", "TextArea", "View"]
)
LABELS = st.sampled_from(["", '<Label value="car"/>', "<Label/>", '<Label alias="a"/>'])


@st.composite
def tags(draw: st.DrawFn) -> str:
    kind = draw(KINDS)
    attributes = [
        f'{name}="{value}"' for name, value in draw(st.dictionaries(NAMES, VALUES)).items()
    ]
    return f"<{kind} {' '.join(attributes)}>{draw(LABELS)}</{kind}>"


@settings(deadline=None)
@given(st.lists(tags()))
def test_any_config_of_these_tags_is_usable_or_refused(parts: list[str]) -> None:
    try:
        config = parse_label_config(view(*parts))
    except LabelConfigError:
        return
    assert config.image_name
    assert config.image_key
    assert all(control.to_name == config.image_name for control in config.outputs)
