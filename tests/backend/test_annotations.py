"""What one annotation teaches, read through the task it belongs to."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backend.label_config import parse_label_config
from backend.task_samples import TaskReader
from tests.annotated import (
    CONFIG,
    annotation,
    bitmask,
    brush,
    polygon,
    rectangle,
    region,
    square,
    task,
    typed,
)

LEFT, RIGHT = square(2, 2), square(2, 20)
BOTH = LEFT | RIGHT

# (prompt, label, kind, mask) of each sample
Sample = tuple[str, str, str, NDArray[np.bool_] | None]


def read(
    *results: dict[str, Any], config: str = CONFIG, task_: dict[str, Any] | None = None
) -> tuple[list[Sample], dict[str, int]]:
    """The samples of an annotation with these results, and what was left out."""
    reader = TaskReader(parse_label_config(config), "latest")
    samples = reader.read(task_ or task(annotation(*results)))
    masks = [None if each.packed is None else each.packed.unpack() for each in samples]
    left_out = {reason: each.count for reason, each in reader.tally.left_out().items()}
    return [
        (each.prompt, each.label, each.kind, mask)
        for each, mask in zip(samples, masks, strict=True)
    ], left_out


def check(samples: list[Sample], *wanted: Sample) -> None:
    assert [each[:3] for each in samples] == [each[:3] for each in wanted]
    for each, other in zip(samples, wanted, strict=True):
        np.testing.assert_array_equal(each[3], other[3])


def test_an_accepted_region_has_the_prompt_of_its_meta() -> None:
    samples, left_out = read(
        brush(LEFT, "Cat", prompt="the left cat"), typed("a dog", "the left cat")
    )
    check(samples, ("the left cat", "Cat", "accepted", LEFT))
    assert not left_out


def test_an_edited_region_is_an_accepted_one() -> None:
    edited = brush(LEFT, "Cat", prompt="the cat", origin="prediction-changed")
    check(read(edited)[0], ("the cat", "Cat", "accepted", LEFT))


def test_regions_of_one_prompt_are_one_mask() -> None:
    samples, _ = read(
        brush(LEFT, "Cat", prompt="The cats"), bitmask(RIGHT, "Cat", prompt="the cats")
    )
    check(samples, ("The cats", "Cat", "accepted", BOTH))


def test_regions_of_different_prompts_are_different_samples() -> None:
    samples, _ = read(
        brush(LEFT, "Cat", prompt="the left cat"), brush(RIGHT, "Cat", prompt="the right cat")
    )
    check(
        samples,
        ("the left cat", "Cat", "accepted", LEFT),
        ("the right cat", "Cat", "accepted", RIGHT),
    )


@pytest.mark.parametrize(
    ("label", "prompt"),
    [("Cat", "Cat"), ("tl", "traffic light"), ("Red car", "the car that is red")],
)
def test_what_is_drawn_without_a_prompt_has_its_labels(label: str, prompt: str) -> None:
    check(read(brush(LEFT, label))[0], (prompt, label, "drawn", LEFT))


def test_a_labels_mask_is_all_regions_of_the_label() -> None:
    """The prompt "Cat" means the left cat, too."""
    samples, _ = read(brush(LEFT, "Cat", prompt="the left cat"), brush(RIGHT, "Cat"))
    check(samples, ("the left cat", "Cat", "accepted", LEFT), ("Cat", "Cat", "drawn", BOTH))


def test_a_drawn_region_answers_the_typed_prompt_of_its_label() -> None:
    samples, _ = read(typed("the small cat", "the traffic light"), brush(LEFT, "Cat"))
    check(
        samples,
        ("the small cat", "Cat", "drawn", LEFT),
        ("the traffic light", "tl", "negative", None),
    )


def test_a_drawn_region_answers_the_one_typed_prompt_without_a_label() -> None:
    check(read(typed("the animal"), brush(LEFT, "Cat"))[0], ("the animal", "Cat", "drawn", LEFT))
    check(read(typed("the animal"), brush(LEFT))[0], ("the animal", "", "drawn", LEFT))


def test_a_drawn_region_answers_no_typed_prompt_if_it_may_be_another() -> None:
    # Two of its label.
    samples, _ = read(typed("the small cat", "a cat"), brush(LEFT, "Cat"))
    check(samples, ("Cat", "Cat", "drawn", LEFT))
    # One without a label, but two labels were drawn.
    samples, _ = read(typed("the thing"), brush(LEFT, "Cat"), brush(RIGHT, "tl"))
    check(samples, ("Cat", "Cat", "drawn", LEFT), ("traffic light", "tl", "drawn", RIGHT))
    # One that an accepted region answers.
    accepted = brush(LEFT, "Cat", prompt="the small cat")
    samples, _ = read(typed("the small cat"), accepted, brush(RIGHT, "Cat"))
    check(samples, ("the small cat", "Cat", "accepted", LEFT), ("Cat", "Cat", "drawn", BOTH))


def test_an_entry_with_a_label_in_front_is_the_prompt_after_it() -> None:
    samples, left_out = read(
        typed("tl: the upper one; cat: it sleeps"), brush(LEFT, "tl", prompt="the upper one")
    )
    check(
        samples,
        ("the upper one", "tl", "accepted", LEFT),
        ("cat, it sleeps", "Cat", "negative", None),
    )
    assert not left_out


def test_the_same_prompt_accepted_and_drawn_is_one_accepted_sample() -> None:
    samples, _ = read(brush(LEFT, "Cat", prompt="cat"), brush(RIGHT, "Cat"))
    check(samples, ("cat", "Cat", "accepted", BOTH))


def test_a_region_with_two_labels_is_drawn_for_both() -> None:
    samples, _ = read(brush(LEFT, "Cat", "tl"))
    check(samples, ("Cat", "Cat", "drawn", LEFT), ("traffic light", "tl", "drawn", LEFT))


def test_brush_bitmask_and_polygon_are_one_mask() -> None:
    lower = square(20, 2)
    half = polygon([[0, 0], [50, 0], [50, 100], [0, 100]], "Cat")
    whole, _ = read(brush(RIGHT, "Cat"), bitmask(lower, "Cat"), half)
    left_half = np.zeros_like(LEFT)
    left_half[:, :20] = True
    check(whole, ("Cat", "Cat", "drawn", RIGHT | lower | left_half))


def test_a_rectangle_adds_nothing_to_a_mask_and_is_none_itself() -> None:
    for mask in (brush(LEFT, "Cat"), brush(LEFT, "Cat", prompt="the cat")):
        samples, left_out = read(rectangle("Cat", prompt="the cat"), mask)
        np.testing.assert_array_equal(samples[0][3], LEFT)
        assert not left_out
    samples, left_out = read(rectangle("Dog"), brush(LEFT, "Cat"))
    check(samples, ("Cat", "Cat", "drawn", LEFT))
    assert left_out == {"rectangle without a mask of its prompt or label": 1}
    # The cat is there: its prompt is no negative.
    assert read(rectangle("Cat", prompt="the cat"), typed("the cat", "a cat"))[0] == []


@pytest.mark.parametrize("others", [[], [brush(RIGHT, "tl")]])
def test_a_prompt_of_which_nothing_is_left_is_a_negative(others: list[dict[str, Any]]) -> None:
    samples, _ = read(typed("the cat"), *others)
    assert ("the cat", "Cat", "negative", None) in samples


@pytest.mark.parametrize(
    "other",
    [
        brush(LEFT, "Cat"),
        brush(LEFT, "Cat", prompt="the other cat"),
        brush(LEFT, "Cat", original_width=7),  # unreadable, but it is there
        rectangle("Cat"),
    ],
)
def test_a_prompt_of_a_label_that_is_there_is_no_negative(other: dict[str, Any]) -> None:
    samples, _ = read(typed("the cat", "a cat"), other)
    assert "negative" not in [each[2] for each in samples]


def test_a_prompt_without_a_label_is_a_negative_only_if_nothing_else_was_marked() -> None:
    check(read(typed("the thing"))[0], ("the thing", "", "negative", None))
    samples, _ = read(typed("the thing", "a cat"), brush(LEFT, "Cat", prompt="a cat"))
    check(samples, ("a cat", "Cat", "accepted", LEFT))


def test_what_was_deleted_of_the_prediction_it_started_from_is_a_negative() -> None:
    kept = brush(LEFT, "Cat", prompt="a cat")
    predicted = [kept, brush(RIGHT, "tl", prompt="traffic light")]
    mine = {"id": 8, "model_version": "v", "result": predicted}
    other = {"id": 9, "result": [brush(RIGHT, "Red car", prompt="the car that is red")]}
    started = annotation(kept, parent_prediction=8)
    wanted: list[Sample] = [
        ("a cat", "Cat", "accepted", LEFT),
        ("traffic light", "tl", "negative", None),
    ]
    check(read(task_=task(started, predictions=[other, mine]))[0], *wanted)
    # Exports give the ids of predictions, and a copy of one beside the annotation.
    exported = task(started | {"prediction": mine}, predictions=[9, 8])
    check(read(task_=exported)[0], *wanted)
    # An annotation that did not start from it says nothing about it.
    check(read(task_=task(annotation(kept), predictions=[mine]))[0], wanted[0])
    samples, left_out = read(task_=task(started, predictions=[9, 8]))
    check(samples, wanted[0])
    assert left_out == {"prediction that is not kept, and with it what was deleted of it": 1}


def test_regions_of_other_models_predictions_are_no_negatives() -> None:
    prediction = {"id": 8, "result": [brush(LEFT, "Cat")]}
    started = annotation(brush(RIGHT, "tl"), parent_prediction=8)
    samples, _ = read(task_=task(started, predictions=[prediction]))
    check(samples, ("traffic light", "tl", "drawn", RIGHT))


def test_what_the_task_itself_put_into_the_prompt_was_not_asked() -> None:
    prefilled = {"data": {"image": "a.png", "prompt": "the cat"}}
    assert read(task_=task(annotation(typed("the cat")), **prefilled))[0] == []


def test_other_text_areas_are_not_prompts() -> None:
    samples, left_out = read(typed("the cat", from_name="status"), brush(LEFT, "tl"))
    check(samples, ("traffic light", "tl", "drawn", LEFT))
    assert not left_out


BRUSH_AND_LABELS = """<View>
  <Image name="image" value="$image"/>
  <Labels name="class" toName="image"><Label value="cat"/><Label value="dog"/></Labels>
  <Brush name="paint" toName="image"/>
</View>"""


def test_brush_and_labels_of_one_id_are_one_region() -> None:
    paint = brush(LEFT, from_name="paint") | {"type": "brush"}
    label = region("labels", {}, "dog", from_name="class", id=paint["id"])
    alone = region("labels", {}, "cat", from_name="class")
    samples, left_out = read(label, paint, alone, config=BRUSH_AND_LABELS)
    check(samples, ("dog", "dog", "drawn", LEFT))
    assert left_out == {"label without a mask": 1}
    samples, left_out = read(paint, config=BRUSH_AND_LABELS)
    assert samples == []
    assert left_out["region without a prompt and without a label"] == 1


def test_dynamic_labels_have_their_own_prompts() -> None:
    config = CONFIG.replace('name="mask"', 'name="mask" value="$labels"')
    declared = [{"value": "Bus", "alias": "b", "prompt": "the yellow bus"}]
    data = {"data": {"image": "a.png", "labels": declared}}
    samples, _ = read(task_=task(annotation(brush(LEFT, "b")), **data), config=config)
    check(samples, ("the yellow bus", "b", "drawn", LEFT))


def test_a_label_that_contradicts_its_prompt_is_left_out() -> None:
    samples, left_out = read(
        brush(LEFT, "tl", prompt="the cat"),
        brush(RIGHT, "Red car", prompt="the car that is red"),
        typed("the cat"),
    )
    check(samples, ("the car that is red", "Red car", "accepted", RIGHT))
    assert left_out == {"label that is not the one its prompt names": 1}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (brush(square(0, 0) & False, "Cat"), "empty mask"),
        (brush(LEFT, "Cat", original_width=7), "brush mask of another size than its image"),
        (region("brushlabels", {"format": "rle"}, "Cat"), "brush region without rle"),
        (brush(LEFT, "Cat", from_name="gone"), "control that the labeling config does not have"),
        (region("ellipselabels", {}, "Cat", from_name="e"), "ellipse region, which is no mask"),
        (region("keypoint", {}, from_name="k"), "keypoint region, which is no mask"),
        (brush(LEFT), "region without a prompt and without a label"),
        (typed("x" * 1001), "prompt that is too long"),
    ],
)
def test_what_is_left_out_is_counted_and_named(bad: dict[str, Any], reason: str) -> None:
    samples, left_out = read(bad, brush(RIGHT, "tl"))
    check(samples, ("traffic light", "tl", "drawn", RIGHT))
    ((named, count),) = left_out.items()
    assert reason in named
    assert count == 1


def test_a_mask_is_left_out_if_a_part_of_it_cannot_be_read() -> None:
    broken = brush(LEFT, "Cat", original_width=7)
    samples, left_out = read(broken, brush(RIGHT, "Cat"))
    assert samples == []
    assert left_out["mask of which another region cannot be read"] == 1
    smaller = brush(LEFT[:-1], "Cat", original_height=29)
    samples, left_out = read(smaller, brush(RIGHT, "Cat"))
    assert samples == []
    assert left_out["regions of one prompt on images of different sizes"] == 1
    # An empty part takes nothing away.
    check(read(brush(LEFT & False, "Cat"), brush(RIGHT, "Cat"))[0], ("Cat", "Cat", "drawn", RIGHT))


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"type": "brushlabels", "from_name": ["mask"]},
        {"type": "brushlabels", "from_name": "mask", "id": [1], "value": []},
        {"type": "textarea", "from_name": "prompt", "value": None},
        {"type": "textarea", "from_name": "prompt", "value": {"text": [None, 7, " "]}},
        {"type": "labels", "from_name": None, "value": {"labels": 7}},
        {"type": 7, "meta": 7},
        brush(LEFT, "Cat") | {"meta": {"prompt": ["a"]}, "value": {"brushlabels": [7, None]}},
    ],
)
def test_results_that_no_editor_saves_do_no_harm(odd: dict[str, Any]) -> None:
    check(read(odd, brush(RIGHT, "tl"))[0], ("traffic light", "tl", "drawn", RIGHT))
