import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from self1e.recipe.held_out import write_held_out
from self1e.recipe.photos import Photo, held_out, read_photos
from tests.self1e.recipe.synthetic_photos import (
    VOC_NAMES,
    write_all_sources,
    write_label_map,
)


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    """Enough dog photos that some are held out, and one of every other source."""
    data_dir = write_all_sources(tmp_path / "data")
    labels = np.zeros((60, 80), dtype=np.uint8)
    labels[10:40, 10:40] = 12
    labels[10:40, 40:43] = 255
    for number in range(60):
        write_label_map(data_dir / "voc", f"dog{number}", VOC_NAMES, labels, seed=100 + number)
    return read_photos(data_dir)


def read_lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_questions_are_about_held_out_photos_alone(photos: list[Photo], tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = write_held_out(photos, out, 0)
    asked = {line["image"] for path in files.values() for line in read_lines(path)}
    expected = {photo.name.replace("/", "-") for photo in photos if held_out(photo)}
    assert {Path(image).stem for image in asked} == expected
    assert expected


def test_masks_have_the_photos_size_and_say_what_is_asked(
    photos: list[Photo], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    files = write_held_out(photos, out, 0)
    lines = read_lines(files["voc"])
    assert lines
    for line in lines:
        assert line["prompt"] == "dog"
        mask = np.asarray(Image.open(out / line["mask"]))
        ignore = np.asarray(Image.open(out / line["ignore"]))
        assert mask.shape == ignore.shape == (60, 80)
        assert (mask[10:40, 10:40] == 255).all()
        assert (mask > 0).sum() == 900
        assert (ignore[10:40, 40:43] == 255).all()
        with Image.open(out / line["image"]) as image:
            assert image.size == (80, 60)


def test_absent_things_have_empty_masks(photos: list[Photo], tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = write_held_out(photos, out, 0)
    lines = read_lines(files["absent"])
    assert lines
    for line in lines:
        assert "dog" not in line["prompt"]
        assert not np.asarray(Image.open(out / line["mask"])).any()


def test_the_same_seed_writes_the_same_files(photos: list[Photo], tmp_path: Path) -> None:
    first = write_held_out(photos, tmp_path / "first", 7)
    second = write_held_out(photos, tmp_path / "second", 7)
    assert first.keys() == second.keys()
    for kind, path in first.items():
        assert path.read_bytes() == second[kind].read_bytes()
