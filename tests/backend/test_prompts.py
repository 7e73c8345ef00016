from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import BadRequestError
from backend.label_config import LabelConfig, parse_label_config
from backend.prompts import (
    MAX_PROMPT_CHARACTERS,
    MAX_PROMPTS,
    LabelledPrompt,
    label_prompt,
    newest_prompt,
    prompts_for_task,
    split_prompts,
)


def config(*labels: str, text_area: str = "") -> LabelConfig:
    return parse_label_config(
        f"""<View>
          <Image name="image" value="$image"/>
          <TextArea name="comment" toName="image" smart="false"/>
          <TextArea name="prompt" toName="image" {text_area}/>
          <BrushLabels name="mask" toName="image">{"".join(labels)}</BrushLabels>
        </View>"""
    )


CAR = '<Label value="Car" alias="veh-1"/>'
PERSON = '<Label value="person" prompt="everybody"/>'
SIGN = '<Label value="traffic_sign"/>'
STREET = config(CAR, PERSON, SIGN)


def entered(*texts: str, control: str = "prompt") -> dict[str, Any]:
    return {
        "value": {"text": list(texts)},
        "id": "t01-gNW1q7",
        "from_name": control,
        "to_name": "image",
        "type": "textarea",
        "origin": "manual",
    }


CHOICE = {"value": {"choices": ["good"]}, "from_name": "quality", "type": "choices"}


@pytest.mark.parametrize(
    ("results", "prompt"),
    [
        ([entered("the red car")], "the red car"),
        ([entered("the red car", "the bus", " the van ")], "the van"),
        ([entered("a comment", control="comment"), CHOICE, entered("the bus")], "the bus"),
        ([entered("the bus"), entered("a comment", control="comment")], "the bus"),
        ([entered("the bus", " ")], "the bus"),
        ([entered("the bus"), entered()], "the bus"),
        ([entered("a comment", control="comment")], None),
        ([{**entered(), "value": {"text": "the bus"}}], "the bus"),
        ([{**entered(), "value": None}, None, "text", {}], None),
        ([], None),
    ],
)
def test_the_newest_text_of_the_prompts_own_control(results: list[Any], prompt: str | None) -> None:
    assert newest_prompt({"result": results}, STREET) == prompt


def test_without_a_context_or_without_a_prompt_control_there_is_no_prompt() -> None:
    assert newest_prompt(None, STREET) is None
    assert newest_prompt({}, STREET) is None
    no_area = parse_label_config(
        '<View><Image name="i" value="$i"/><Brush name="b" toName="i"/></View>'
    )
    assert newest_prompt({"result": [entered("the bus")]}, no_area) is None


def test_a_context_of_another_form_is_refused() -> None:
    with pytest.raises(BadRequestError, match="result"):
        newest_prompt({"result": "the bus"}, STREET)


def test_a_prompt_may_be_as_long_as_the_limit_and_no_longer() -> None:
    longest = "x" * MAX_PROMPT_CHARACTERS
    assert split_prompts(f"{longest};{longest}") == [longest, longest]
    with pytest.raises(BadRequestError, match=str(MAX_PROMPT_CHARACTERS)):
        split_prompts(f"the bus; {longest}x")


@pytest.mark.parametrize(
    ("entry", "prompts"),
    [
        ("the dog", ["the dog"]),
        ("the dog; the red cup", ["the dog", "the red cup"]),
        ("the dog\nthe red cup\r\n\n the  bus ", ["the dog", "the red cup", "the bus"]),
        ("the dog；the red cup;", ["the dog", "the red cup"]),
        ("the dog, the one on the left", ["the dog, the one on the left"]),
        (" ;\n; ", []),
    ],
)
def test_an_entry_holds_a_prompt_per_semicolon_or_line(entry: str, prompts: list[str]) -> None:
    assert split_prompts(entry) == prompts


def test_each_prompt_of_an_entry_gets_its_own_label() -> None:
    context = {"result": [entered("the red car; person: the one on the left\nthe big thing")]}
    assert prompts_for_task({"data": {}}, context, STREET) == [
        LabelledPrompt("the red car", "veh-1"),
        LabelledPrompt("person, the one on the left", "person"),
        LabelledPrompt("the big thing", ""),
    ]


def test_what_is_asked_twice_is_asked_once() -> None:
    context = {"result": [entered("the car; The Car;\n the  car; person: the car")]}
    assert prompts_for_task({"data": {}}, context, STREET) == [
        LabelledPrompt("the car", "veh-1"),
        LabelledPrompt("the car", "person"),
    ]


def test_as_many_prompts_as_the_limit_and_no_more_are_asked_at_once() -> None:
    most = "; ".join(f"thing {number}" for number in range(MAX_PROMPTS))
    assert len(prompts_for_task({}, {"result": [entered(most)]}, STREET)) == MAX_PROMPTS
    again = f"{most}; thing 0"
    assert len(prompts_for_task({}, {"result": [entered(again)]}, STREET)) == MAX_PROMPTS
    with pytest.raises(BadRequestError, match=f"{MAX_PROMPTS + 1} prompts .* {MAX_PROMPTS}"):
        prompts_for_task({}, {"result": [entered(f"{most}; one more")]}, STREET)
    captions = config(CAR, text_area='value="$question"')
    with pytest.raises(BadRequestError, match="prompts at once"):
        prompts_for_task({"data": {"question": f"{most}; one more"}}, None, captions)


def test_a_batch_asks_for_every_label_however_many() -> None:
    labels = (f'<Label value="thing {number}"/>' for number in range(MAX_PROMPTS + 1))
    assert len(prompts_for_task({}, None, config(*labels))) == MAX_PROMPTS + 1


@pytest.mark.parametrize(
    ("text", "asked", "label"),
    [
        ("the red cars", "the red cars", "veh-1"),
        ("veh-1: the red lorry", "the red lorry", "veh-1"),
        ("Cars : the red lorry", "the red lorry", "veh-1"),
        ("person：the driver of the car", "the driver of the car", "person"),
        ("car: the red one", "car, the red one", "veh-1"),
        ("people: the ones in the back", "people, the ones in the back", "person"),
        ("the sign that says: stop the car", "the sign that says: stop the car", "veh-1"),
        ("car: the sign that says：stop", "the sign that says：stop", "veh-1"),
        ("the clock at 10:30", "the clock at 10:30", ""),
        ("car:", "car:", "veh-1"),
        ("the big thing", "the big thing", ""),
    ],
)
def test_a_prompt_gets_the_label_it_names(text: str, asked: str, label: str) -> None:
    assert label_prompt(text, STREET) == LabelledPrompt(asked, label)


@pytest.mark.parametrize(
    ("text", "asked"), [("the big thing", "the big thing"), ("car: the big thing", "the big thing")]
)
def test_a_single_label_takes_every_prompt(text: str, asked: str) -> None:
    assert label_prompt(text, config(CAR)) == LabelledPrompt(asked, "veh-1")


def test_without_labels_a_prompt_has_none() -> None:
    assert label_prompt("the car", config()) == LabelledPrompt("the car", "")


def test_an_annotator_is_asked_for_once_and_the_labels_are_not() -> None:
    context = {"result": [entered("the car", "the person")]}
    assert prompts_for_task({"data": {}}, context, STREET) == [
        LabelledPrompt("the person", "person")
    ]


def test_a_context_without_a_prompt_asks_for_nothing() -> None:
    assert prompts_for_task({"data": {}}, {"result": [CHOICE]}, STREET) == []


def test_a_batch_asks_for_every_label_in_plain_words() -> None:
    assert prompts_for_task({"data": {}}, None, STREET) == [
        LabelledPrompt("Car", "veh-1"),
        LabelledPrompt("everybody", "person"),
        LabelledPrompt("traffic sign", "traffic_sign"),
    ]


def test_a_batch_asks_for_the_texts_of_the_task_that_fill_the_prompt() -> None:
    street = config(CAR, PERSON, text_area='value="$question"')
    task = {"data": {"question": ["the red car", " ", "the driver", "the red car"]}}
    assert prompts_for_task(task, None, street) == [
        LabelledPrompt("the red car", "veh-1"),
        LabelledPrompt("the driver", ""),
    ]
    assert prompts_for_task({"data": {"question": "the car"}}, None, street) == [
        LabelledPrompt("the car", "veh-1")
    ]
    assert len(prompts_for_task({"data": {"question": ""}}, None, street)) == 2


def test_dynamic_labels_of_the_task_count() -> None:
    dynamic = parse_label_config(
        """<View><Image name="image" value="$image"/><TextArea name="prompt" toName="image"/>
        <BrushLabels name="mask" toName="image" value="$labels"/></View>"""
    )
    task = {"data": {"labels": [{"value": "tram"}, {"value": "bus"}]}}
    assert [each.label for each in prompts_for_task(task, None, dynamic)] == ["tram", "bus"]
    context = {"result": [entered("the yellow bus")]}
    assert prompts_for_task(task, context, dynamic) == [LabelledPrompt("the yellow bus", "bus")]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["result", "from_name", "value", "text", "data", "question", "labels"])
            | st.text(),
            inner | st.just("prompt"),
        )
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["result", "data", "id", "value"]), JSON_VALUES)
FUZZED = parse_label_config(
    """<View><Image name="image" value="$image"/>
    <TextArea name="prompt" toName="image" value="$question"/>
    <BrushLabels name="mask" toName="image" value="$labels"><Label value="car"/></BrushLabels>
    </View>"""
)


@settings(deadline=None)
@given(OBJECTS, st.none() | OBJECTS)
def test_any_task_and_context_is_understood_or_refused(
    task: dict[str, Any], context: dict[str, Any] | None
) -> None:
    try:
        prompts = prompts_for_task(task, context, FUZZED)
    except BadRequestError:
        return
    known = {label.name for label in FUZZED.for_task(task).control.labels} | {""}
    assert all(each.text.strip() and each.label in known for each in prompts)


def test_a_batch_asks_what_was_asked_last_unless_a_label_says_what_to_ask() -> None:
    last = "the dog; car: the red one"
    both = [LabelledPrompt("the dog", ""), LabelledPrompt("car, the red one", "car")]
    plain = config('<Label value="car"/>', '<Label value="bus"/>')
    task: dict[str, Any] = {"data": {}}
    assert prompts_for_task(task, None, plain, last_prompts=last) == both
    assert len(prompts_for_task(task, None, plain, last_prompts=" ;\n")) == 2
    told = config('<Label value="car" prompt="every car"/>', '<Label value="bus"/>')
    assert prompts_for_task(task, None, told, last_prompts=last) == [
        LabelledPrompt("every car", "car"),
        LabelledPrompt("bus", "bus"),
    ]


def test_a_tasks_own_prompt_and_an_annotators_go_before_the_last_ones() -> None:
    captions = config('<Label value="car"/>', text_area='value="$caption"')
    task = {"data": {"caption": "the white car"}}
    own = [LabelledPrompt("the white car", "car")]
    assert prompts_for_task(task, None, captions, last_prompts="the dog") == own
    context = {"result": [entered("the van")]}
    assert prompts_for_task(task, context, captions, last_prompts="the dog") == [
        LabelledPrompt("the van", "car")
    ]
    assert prompts_for_task(task, {"result": []}, captions, last_prompts="the dog") == []
