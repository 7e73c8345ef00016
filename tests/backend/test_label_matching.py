import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.label_config import Label
from backend.label_matching import label_called, label_named_in


def labels(*values: str) -> list[Label]:
    return [Label(value, value) for value in values]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("the red car", "car"),
        ("RED CAR", "car"),
        ("cars", "car"),
        ("two people", "person"),
        ("the knives on the table", "knife"),
        ("boxes", "box"),
        ("buses", "bus"),
        ("the bus", "bus"),
        ("ponies", "pony"),
        ("a glass", "glass"),
        ("glasses", "glass"),
        ("mugs", "Mugs"),
        ("the mug", "Mugs"),
        ("traffic-light", "traffic light"),
        ("the traffic lights", "traffic light"),
        ("carpet", None),
        ("scar", None),
        ("gas", None),
        ("traffic", None),
        ("light traffic", None),
        ("", None),
    ],
)
def test_a_label_is_found_as_whole_words_in_singular_or_plural(
    text: str, label: str | None
) -> None:
    known = labels(
        "car", "person", "knife", "box", "bus", "pony", "glass", "Mugs", "traffic light", "ga"
    )
    found = label_named_in(text, known)
    assert (found and found.name) == label


def test_of_overlapping_names_the_longest_wins() -> None:
    known = labels("light", "car", "traffic light", "sports car")
    named = label_named_in("the traffic light", known)
    assert named is not None
    assert named.name == "traffic light"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("the car behind the person", "car"),
        ("the person in the car", "person"),
        ("the person's car", "car"),
        ("the person’s car", "car"),
        ("the person's left shoe", "person"),
        ("a car next to the sports car", "car"),
    ],
)
def test_the_thing_itself_comes_first_and_its_owner_last(text: str, label: str) -> None:
    named = label_named_in(text, labels("person", "car", "sports car"))
    assert named is not None
    assert named.name == label


def test_a_label_is_found_in_a_script_without_spaces() -> None:
    named = label_named_in("左边红色的汽车", labels("人", "汽车"))
    assert named is not None
    assert named.name == "汽车"


def test_a_label_answers_to_its_value_and_its_alias() -> None:
    known = [Label("veh-1", "Car", "veh-1"), Label("bus", "bus")]
    assert label_named_in("the car", known) == known[0]
    assert label_named_in("veh-1 on the left", known) == known[0]
    assert label_called("VEH-1", known) == known[0]
    assert label_called("cars", known) == known[0]


@pytest.mark.parametrize("name", ["red car", "c", "", "?"])
def test_another_name_calls_no_label(name: str) -> None:
    assert label_called(name, labels("car", "!", "")) is None


@settings(deadline=None)
@given(st.text(), st.lists(st.text()))
def test_a_label_is_found_in_its_own_name(text: str, values: list[str]) -> None:
    known = labels(text, *values)
    named = label_named_in(text, known)
    assert (named is None) == (label_called(text, known) is None)
