import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.config_tags import MAX_CONFIG_CHARACTERS, read_config_tags
from backend.errors import LabelConfigError

BILLION_LAUGHS = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<View>&b;</View>"""
EXTERNAL_ENTITY = '<!DOCTYPE v [<!ENTITY x SYSTEM "file:///etc/passwd">]><View a="&x;"/>'


def test_tags_and_attribute_names_lose_their_case_but_values_do_not() -> None:
    (tag,) = read_config_tags('<BrushLabels NAME="Mask" toName="Image"/>')
    assert tag.kind == "brushlabels"
    assert tag.attributes == {"name": "Mask", "toname": "Image"}


def test_a_control_owns_the_labels_inside_its_views() -> None:
    tags = read_config_tags(
        '<View><Label value="stray"/>'
        '<Labels name="l" toName="i"><View><Label value="car"/></View><Label value="bus"/></Labels>'
        '<Label value="late"/></View>'
    )
    (control,) = [tag for tag in tags if tag.targets]
    assert [label["value"] for label in control.labels] == ["car", "bus"]


@pytest.mark.parametrize(
    ("attributes", "targets"),
    [
        ('name="m" toName="a"', ["a"]),
        ('name="m" toName="a, b,"', ["a", "b"]),
        ('name="m"', []),
        ('toName="a"', []),
    ],
)
def test_only_a_tag_with_a_name_and_a_to_name_is_a_control(
    attributes: str, targets: list[str]
) -> None:
    (tag,) = read_config_tags(f"<Brush {attributes}/>")
    assert tag.targets == targets


@pytest.mark.parametrize(
    ("value", "variable"),
    [("$image", "image"), (" $a.b ", "a.b"), ("image", None), ("$", None), ("", None)],
)
def test_a_variable_is_a_value_that_starts_with_a_dollar(value: str, variable: str | None) -> None:
    (tag,) = read_config_tags(f'<Image name="i" value="{value}"/>')
    assert tag.variable == variable


@pytest.mark.parametrize("xml", [BILLION_LAUGHS, EXTERNAL_ENTITY, "<!DOCTYPE View><View/>"])
def test_a_doctype_is_refused(xml: str) -> None:
    with pytest.raises(LabelConfigError, match="DOCTYPE"):
        read_config_tags(xml)


@pytest.mark.parametrize("xml", ["", "View", "<View>", "<View>&undeclared;</View>", "\ud800", "\0"])
def test_what_is_no_xml_is_refused(xml: str) -> None:
    with pytest.raises(LabelConfigError, match="not XML"):
        read_config_tags(xml)


def test_a_config_may_be_as_long_as_the_limit_and_no_longer() -> None:
    longest = "<View>" + " " * (MAX_CONFIG_CHARACTERS - 13) + "</View>"
    assert len(read_config_tags(longest)) == 1
    with pytest.raises(LabelConfigError, match=str(MAX_CONFIG_CHARACTERS)):
        read_config_tags(longest + "\n")


def test_deep_nesting_is_read_like_any_other() -> None:
    depth = 50_000
    tags = read_config_tags(
        '<View><Labels name="l" toName="i">'
        + "<Label>" * depth
        + "</Label>" * depth
        + "</Labels></View>"
    )
    assert len(tags[1].labels) == depth


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused(xml: str) -> None:
    try:
        tags = read_config_tags(xml)
    except LabelConfigError:
        return
    assert tags


def test_a_control_holds_its_choices_apart_from_its_labels() -> None:
    tags = read_config_tags(
        """<View><Choices name="mode" toName="image"><View><Choice value="all" Selected="true"/>
        </View><Choice value="each"/></Choices><Choice value="stray"/></View>"""
    )
    (control,) = (tag for tag in tags if tag.kind == "choices")
    assert control.choices == [{"value": "all", "selected": "true"}, {"value": "each"}]
    assert control.labels == []
