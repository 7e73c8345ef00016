import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.label_config import parse_label_config
from backend.task_samples import TaskReader
from tests.annotated import annotation, task
from tests.demonstrations.part_photos import (
    PARTS,
    annotation_results,
    label_config,
    prompt,
    read_part_photos,
    split,
    write_samples,
)

HEIGHT, WIDTH = 40, 60
UNKNOWN = 255
NUMBERS = {part: 3 * place for place, part in enumerate(PARTS, start=1)}


def write_photo(directory: Path, name: str, *parts: str, seed: int, unknown: bool = False) -> None:
    """Random pixels; each part is a row of the label image."""
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for part in parts:
        labels[NUMBERS[part]] = NUMBERS[part]
    if unknown:
        labels[-1] = UNKNOWN
    for folder in ("images", "labels"):
        (directory / folder).mkdir(exist_ok=True)
    Image.fromarray(pixels).save(directory / "images" / f"{name}.jpg", quality=95)
    Image.fromarray(labels).save(directory / "labels" / f"{name}.png")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    names = {"0": "background", "1": "roof"} | {str(n): part for part, n in NUMBERS.items()}
    (tmp_path / "labels.json").write_text(json.dumps(names))
    return tmp_path


def test_photos_that_show_a_part_are_read_and_none_twice(directory: Path) -> None:
    write_photo(directory, "a", "wheel", "hood", seed=1)
    write_photo(directory, "again", "wheel", "hood", seed=1)
    write_photo(directory, "nothing", seed=2)
    write_photo(directory, "z", "front glass", seed=3)
    photos = read_part_photos(directory)
    assert [photo.path.name for photo in photos] == ["a.jpg", "z.jpg"]
    parts = photos[0].parts()
    assert list(parts) == ["wheel", "hood"]
    for part, mask in parts.items():
        assert mask.shape == (HEIGHT, WIDTH)
        assert np.flatnonzero(mask.any(axis=1)).tolist() == [NUMBERS[part]]


def test_a_speck_is_no_part(directory: Path) -> None:
    write_photo(directory, "a", "wheel", "hood", seed=1)
    path = directory / "labels" / "a.png"
    labels = np.asarray(Image.open(path)).copy()
    labels[NUMBERS["wheel"], 4:] = 0  # 4 of 2400 pixels are left
    Image.fromarray(labels).save(path)
    assert list(read_part_photos(directory)[0].parts()) == ["hood"]


def test_numbers_without_a_part_are_an_error(directory: Path) -> None:
    (directory / "labels.json").write_text('{"0": "background", "1": "wheel", "2": "hood"}')
    with pytest.raises(ValueError, match="lacks front bumper, front glass, front left door"):
        read_part_photos(directory)


def test_every_photo_is_either_taught_or_kept_aside(directory: Path) -> None:
    for number in range(7):
        write_photo(directory, str(number), "wheel", seed=number)
    photos = read_part_photos(directory)
    taught, aside = split(photos, 5)
    assert len(taught) == 5
    assert sorted([*taught, *aside], key=lambda photo: photo.path) == photos
    assert (taught, aside) == split(photos, 5)
    with pytest.raises(ValueError, match="none is kept aside"):
        split(photos, 7)


def test_what_the_annotator_saves_teaches_the_marked_parts(directory: Path) -> None:
    write_photo(directory, "a", *PARTS, seed=1)
    (photo,) = read_part_photos(directory)
    reader = TaskReader(parse_label_config(label_config()), "latest")
    samples = reader.read(task(annotation(*annotation_results(photo))))
    assert {(each.prompt, each.label, each.kind) for each in samples} == {
        (prompt(part), part, "accepted") for part in PARTS
    }
    for sample in samples:
        np.testing.assert_array_equal(sample.mask(HEIGHT, WIDTH), photo.parts()[sample.label])
    assert not reader.tally.left_out()


@pytest.mark.parametrize("unknown", [True, False])
def test_samples_on_disk_are_the_marked_parts(
    directory: Path, tmp_path: Path, unknown: bool
) -> None:
    write_photo(directory, "a", "wheel", "front left door", seed=1, unknown=unknown)
    (photo,) = read_part_photos(directory)
    samples = write_samples([photo], tmp_path / "masks")
    assert [each.prompt for each in samples] == ["the wheel", "the front left door"]
    for sample, mask in zip(samples, photo.parts().values(), strict=True):
        assert sample.image == photo.path
        np.testing.assert_array_equal(sample.load_mask(), mask)
        counted = sample.load_counted()
        if not unknown:
            assert counted is None
            continue
        assert counted is not None
        assert np.flatnonzero((~counted).any(axis=1)).tolist() == [HEIGHT - 1]
