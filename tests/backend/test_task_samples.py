from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backend.label_config import parse_label_config
from backend.task_samples import AnnotatorsRule, TaskReader
from backend.training_samples import TrainingSample
from tests.annotated import CONFIG, annotation, brush, square, task, typed

LEFT, RIGHT, OTHER = square(2, 2), square(2, 20), square(20, 2)


def read(
    task_: dict[str, Any], rule: AnnotatorsRule = "latest"
) -> tuple[list[TrainingSample], dict[str, int], int]:
    """The samples, what was left out, and the number of annotations they come from."""
    reader = TaskReader(parse_label_config(CONFIG), rule)
    samples = reader.read(task_)
    left_out = {reason: each.count for reason, each in reader.tally.left_out().items()}
    return samples, left_out, reader.annotations


def cat(mask: NDArray[np.bool_], **changes: Any) -> dict[str, Any]:
    return annotation(brush(mask, "Cat"), **changes)


def mask_of(sample: TrainingSample) -> NDArray[np.bool_]:
    return sample.mask(*LEFT.shape)


def test_a_sample_names_its_task_and_image() -> None:
    (sample,), left_out, annotations = read(task(cat(LEFT), data={"image": " a.png "}))
    assert (sample.task_id, sample.image_url) == (5, "a.png")
    np.testing.assert_array_equal(mask_of(sample), LEFT)
    assert not left_out
    assert annotations == 1


@pytest.mark.parametrize(
    "wins",
    [
        {"updated_at": "2026-11-22T10:54:53Z"},
        {"updated_at": "2026-11-22T10:54:52.200000Z"},
        {"updated_at": "2026-11-22T12:54:53+01:00"},
        {"updated_at": None, "created_at": "2026-11-23T00:00:00Z"},
        {"id": 3},
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_the_latest_annotation_counts(wins: dict[str, Any], is_first: bool) -> None:
    winner, loser = cat(LEFT, id=1, **{"completed_by": 2}) | wins, cat(RIGHT, id=0)
    both = (winner, loser) if is_first else (loser, winner)
    (sample,), left_out, annotations = read(task(*both))
    np.testing.assert_array_equal(mask_of(sample), LEFT)
    assert left_out == {"annotation that another one of its task replaces": 1}
    assert annotations == 1


@pytest.mark.parametrize("rule", ["latest", "agreement"])
def test_ground_truth_comes_first(rule: AnnotatorsRule) -> None:
    truth = cat(LEFT, ground_truth=True, updated_at="2020-01-01T00:00:00Z", completed_by=2)
    (sample,), left_out, _ = read(task(cat(RIGHT), truth, cat(OTHER, completed_by=3)), rule)
    np.testing.assert_array_equal(mask_of(sample), LEFT)
    assert left_out == {"annotation that another one of its task replaces": 2}


def test_times_that_cannot_be_read_are_the_oldest() -> None:
    (sample,), _, _ = read(task(cat(RIGHT, id=9, updated_at="yesterday"), cat(LEFT)))
    np.testing.assert_array_equal(mask_of(sample), LEFT)


def test_annotators_agree_on_what_more_than_half_of_them_have() -> None:
    (sample,), left_out, annotations = read(
        task(
            cat(LEFT | RIGHT, completed_by=1),
            cat(LEFT | OTHER, completed_by={"id": 2}),
            cat(LEFT, completed_by=3),
        ),
        "agreement",
    )
    np.testing.assert_array_equal(mask_of(sample), LEFT)
    assert (sample.prompt, sample.label, sample.kind) == ("Cat", "Cat", "drawn")
    assert not left_out
    assert annotations == 3


def test_an_annotator_has_one_vote() -> None:
    (sample,), left_out, _ = read(
        task(
            cat(LEFT | RIGHT, completed_by=1),
            cat(RIGHT, completed_by={"id": 1}, updated_at="2020-01-01T00:00:00Z"),
            cat(LEFT, completed_by=2),
        ),
        "agreement",
    )
    np.testing.assert_array_equal(mask_of(sample), LEFT)
    assert left_out == {"annotation that another one of its task replaces": 1}


def test_annotators_without_the_prompt_have_no_vote_but_those_who_left_nothing_do() -> None:
    both = task(cat(LEFT, completed_by=1), annotation(brush(RIGHT, "tl"), completed_by=2))
    samples, left_out, _ = read(both, "agreement")
    assert [each.prompt for each in samples] == ["Cat", "traffic light"]
    asked = [annotation(typed("Cat"), completed_by=number) for number in (2, 3)]
    samples, left_out, _ = read(task(cat(LEFT, completed_by=1), *asked[:1]), "agreement")
    assert samples == []
    assert left_out == {"prompt on which the annotators do not agree": 1}
    (sample,), _, _ = read(task(*asked), "agreement")
    assert sample.kind == "negative"


def test_annotators_who_do_not_overlap_do_not_agree() -> None:
    samples, left_out, _ = read(
        task(cat(LEFT, completed_by=1), cat(RIGHT, completed_by=2)), "agreement"
    )
    assert samples == []
    assert left_out == {"prompt on which the annotators do not agree": 1}


def test_annotators_saw_images_of_different_sizes() -> None:
    smaller = annotation(brush(LEFT[:-1], "Cat", original_height=29), completed_by=2)
    samples, left_out, _ = read(task(cat(LEFT, completed_by=1), smaller), "agreement")
    assert samples == []
    assert left_out == {"regions of one prompt on images of different sizes": 1}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (task(cat(LEFT, was_cancelled=True)), "cancelled annotation"),
        (task(annotation()), "annotation that teaches nothing"),
        (task(annotation(typed("a cat"), was_cancelled=True)), "cancelled annotation"),
        (task(annotation(result=None)), "annotation without a result"),
        (task(7), "annotation without a result"),  # type: ignore[arg-type]
        (task(cat(LEFT), data={}), "task without an image"),
        (task(cat(LEFT), data={"image": " "}), "task without an image"),
        (task(cat(LEFT), data={"image": ["a.png"]}), "task without an image"),
    ],
)
def test_tasks_and_annotations_that_teach_nothing(bad: dict[str, Any], reason: str) -> None:
    reader = TaskReader(parse_label_config(CONFIG), "latest")
    assert reader.read(bad) == []
    assert reader.annotations == 0
    assert {name: each.task_ids for name, each in reader.tally.left_out().items()} == {reason: (5,)}


def test_a_task_without_an_id_or_annotations() -> None:
    samples, left_out, _ = read(task(cat(LEFT), id=None))
    assert samples == []
    assert left_out == {"task without an id": 1}
    assert read(task(annotations=None)) == ([], {}, 0)
