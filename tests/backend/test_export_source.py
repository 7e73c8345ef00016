"""JSON exports; that one of a real Label Studio is read is in tests/integration/test_collect.py."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend import export_file
from backend.errors import AnnotationError, LabelConfigError
from backend.export_file import read_export
from backend.export_source import collect_export
from tests.annotated import CONFIG, annotation, bitmask, brush, region, square, task, typed

MASK = square(2, 2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "export.json"


def tasks(count: int) -> list[dict[str, Any]]:
    return [task(annotation(brush(square(2, number), "Cat")), id=number) for number in range(count)]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("characters", [2, 7, 1 << 20])
def test_tasks_are_read_one_after_the_other(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    indent: int | None,
    encoding: str,
    characters: int,
) -> None:
    monkeypatch.setattr(export_file, "_READ_CHARACTERS", characters)
    written = [each | {"data": {"image": 'ä ] , " é.png'}} for each in tasks(3)]
    text = json.dumps(written, indent=indent, ensure_ascii=False)
    file.write_text(f" {text}\n", encoding=encoding)
    assert list(read_export(file)) == written


def test_an_export_of_nothing(file: Path) -> None:
    file.write_text("[ ]")
    assert list(read_export(file)) == []
    with pytest.raises(AnnotationError, match="no regions"):
        collect_export(file)
    assert collect_export(file, CONFIG).samples == ()


TASK = json.dumps(task(annotation(brush(MASK, "Cat"))))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a list of tasks"),
        ('{"images": [], "annotations": []}', "not a list of tasks"),  # COCO
        ("id,image\n1,a.png", "not a list of tasks"),
        ("[", "cut short"),
        (f"[{TASK}", "cut short"),
        (f"[{TASK},", "cut short"),
        (f"[{TASK[:-5]}", "cut short"),
        (f"[{TASK} {TASK}]", "damaged"),
        ("[7]", "Item 0 of .* is no task"),
        (f'[{TASK}, {{"data": {{}}}}]', "Item 1 of .* has no data and annotations"),
        ('[{"image": "a.png", "id": 1, "annotator": 1, "annotation_id": 1}]', "JSON_MIN"),
    ],
)
def test_other_files_are_refused(file: Path, text: str, says: str) -> None:
    file.write_text(text)
    with pytest.raises(AnnotationError, match=says):
        collect_export(file)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="cannot be read"):
        collect_export(tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(b'[{"data": "\xe4"}]')
    with pytest.raises(AnnotationError, match="cannot be read"):
        collect_export(tmp_path / "latin.json")


def test_with_the_labeling_config_labels_are_asked_as_it_says(file: Path) -> None:
    file.write_text(json.dumps([task(annotation(brush(MASK, "Red car")))]))
    (sample,) = collect_export(file, CONFIG).samples
    assert sample.prompt == "the car that is red"
    with pytest.raises(LabelConfigError):
        collect_export(file, "<View/>")


def test_without_the_labeling_config_controls_are_those_in_use(file: Path) -> None:
    accepted = brush(MASK, "red_car", prompt="the red car")
    drawn = bitmask(square(2, 20), "traffic_light")
    paint = brush(square(20, 20), from_name="paint") | {"type": "brush"}
    label = region("labels", {}, "dog", from_name="class", id=paint["id"])
    other = task(annotation(drawn, paint, label), id=6, data={"note": "x", "image": "/b.png"})
    first = task(annotation(accepted, typed("the dog", "the red car"), typed("x", from_name="y")))
    file.write_text(json.dumps([first, other]))
    collected = collect_export(file)
    assert [(each.task_id, each.prompt, each.label, each.kind) for each in collected.samples] == [
        (5, "the dog", "dog", "negative"),
        (5, "the red car", "red_car", "accepted"),
        (6, "dog", "dog", "drawn"),
        (6, "traffic light", "traffic_light", "drawn"),
    ]
    assert {each.image_url for each in collected.samples} == {"/data/upload/1/a.png", "/b.png"}
    assert not collected.left_out


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({"photo": "/a.png", "other": "text"}, "/a.png"),
        ({"url": "s3://bucket/a.png", "text": "no / url"}, "s3://bucket/a.png"),
        ({"page": "http://a.test/page", "image": "http://a.test/a.png"}, "http://a.test/a.png"),
    ],
)
def test_the_image_is_found_in_the_tasks_data(file: Path, data: object, wanted: str) -> None:
    file.write_text(json.dumps([task(annotation(brush(MASK, "Cat")), data=data)]))
    (sample,) = collect_export(file).samples
    assert sample.image_url == wanted


@pytest.mark.parametrize("data", [{"text": "none"}, [], None])
def test_tasks_without_an_image(file: Path, data: object) -> None:
    file.write_text(json.dumps([task(annotation(brush(MASK, "Cat")), data=data)]))
    with pytest.raises(AnnotationError, match="no task with an image"):
        collect_export(file)


def test_the_rule_for_several_annotators(file: Path) -> None:
    one = annotation(brush(MASK | square(20, 20), "Cat"), completed_by=1)
    two = annotation(brush(MASK, "Cat"), completed_by=2)
    file.write_text(json.dumps([task(one, two)]))
    collected = collect_export(file, rule="agreement")
    (sample,) = collected.samples
    np.testing.assert_array_equal(sample.mask(*MASK.shape), MASK)
    assert "more than half" in collected.annotators_rule
