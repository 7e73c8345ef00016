from pathlib import Path

import numpy as np
import pytest

from self1e.recipe.photos import LabelledImage, Photo, Region, held_out, read_photos
from tests.self1e.recipe.synthetic_photos import VOC_NAMES, box, write_all_sources, write_label_map


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Photo]:
    return {photo.name: photo for photo in read_photos(write_all_sources(tmp_path))}


def region(labelled: LabelledImage, concept: str) -> Region:
    return next(region for region in labelled.regions if region.concept == concept)


def concepts(labelled: LabelledImage) -> set[str]:
    return {region.concept for region in labelled.regions}


def test_every_source_is_listed_in_a_fixed_order(tmp_path: Path) -> None:
    write_all_sources(tmp_path)
    names = [photo.name for photo in read_photos(tmp_path)]
    assert names == [
        "voc/dog",
        "voc/home",
        "ccp/0001",
        "coco128/1",
        "davis/goat_0",
        "davis/goat_1",
        "davis/goat_2",
        "faces/Test_1",
    ]


def test_an_unknown_folder_is_never_read(tmp_path: Path) -> None:
    write_label_map(tmp_path / "carparts", "1", VOC_NAMES, np.zeros((60, 80), dtype=np.uint8))
    with pytest.raises(FileNotFoundError, match="no labelled photos"):
        read_photos(tmp_path)


def test_a_missing_label_image_is_an_error(tmp_path: Path) -> None:
    write_all_sources(tmp_path)
    (tmp_path / "voc" / "labels" / "dog.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"dog\.png"):
        read_photos(tmp_path)


def test_a_missing_photo_is_an_error(photos: dict[str, Photo]) -> None:
    photos["voc/dog"].path.unlink()
    with pytest.raises(FileNotFoundError, match=r"dog\.jpg"):
        photos["voc/dog"].load()


def test_label_maps_become_regions_and_unsure_pixels(photos: dict[str, Photo]) -> None:
    labelled = photos["voc/dog"].load()
    assert labelled.size == (60, 80)
    assert concepts(labelled) == {"dog", "animal"}
    np.testing.assert_array_equal(region(labelled, "dog").mask, box(10, 10, 40, 40))
    np.testing.assert_array_equal(region(labelled, "animal").mask, box(10, 10, 40, 40))
    assert labelled.ignore is not None
    np.testing.assert_array_equal(labelled.ignore, box(10, 40, 40, 43))
    assert photos["voc/home"].load().ignore is None


def test_one_animal_in_one_piece_is_one_thing(photos: dict[str, Photo]) -> None:
    assert len(region(photos["voc/dog"].load(), "dog").instances) == 1
    assert region(photos["voc/home"].load(), "person").instances == ()


def test_a_dressed_person_is_everything_marked(photos: dict[str, Photo]) -> None:
    labelled = photos["ccp/0001"].load()
    assert concepts(labelled) == {"bag", "hair", "dress", "person", "clothes"}
    whole = box(5, 30, 55, 50) | box(30, 50, 45, 60)
    np.testing.assert_array_equal(region(labelled, "person").mask, whole)
    np.testing.assert_array_equal(region(labelled, "clothes").mask, region(labelled, "dress").mask)


def test_eyebrows_are_told_from_hair(photos: dict[str, Photo]) -> None:
    labelled = photos["faces/Test_1"].load()
    np.testing.assert_array_equal(region(labelled, "eyebrows").mask, box(22, 20, 24, 32))
    np.testing.assert_array_equal(region(labelled, "hair").mask, box(0, 0, 12, 80))
    np.testing.assert_array_equal(region(labelled, "face").mask, box(12, 0, 60, 80))
    assert not region(labelled, "face skin").mask[27, 25]


def test_polygons_become_things(photos: dict[str, Photo]) -> None:
    labelled = photos["coco128/1"].load()
    cups = region(labelled, "cup")
    assert [int(thing.sum()) for thing in cups.instances] == [500, 81]
    np.testing.assert_array_equal(cups.mask, cups.instances[0] | cups.instances[1])
    assert "sofa" in concepts(labelled)


def test_concepts_are_known_before_loading(photos: dict[str, Photo]) -> None:
    for photo in photos.values():
        assert concepts(photo.load()) - {"eyebrows"} == photo.concepts


def test_absence_is_known_only_where_all_is_marked(photos: dict[str, Photo]) -> None:
    dog = photos["voc/dog"].load().known_concepts
    assert {"cat", "person", "dress"} <= dog
    assert not {"cup", "hair"} & dog
    assert "dress" not in photos["voc/home"].load().known_concepts
    assert "cup" in photos["coco128/1"].load().known_concepts
    assert not {"person", "dog", "sheep"} & photos["davis/goat_0"].load().known_concepts
    assert "dog" not in photos["ccp/0001"].load().known_concepts


def test_frames_of_one_thing_stay_on_one_side(photos: dict[str, Photo]) -> None:
    frames = [photo for name, photo in photos.items() if name.startswith("davis/")]
    assert len({photo.group for photo in frames}) == 1
    assert len({held_out(photo) for photo in frames}) == 1


def test_the_same_file_twice_stays_on_one_side(tmp_path: Path) -> None:
    labels = np.zeros((60, 80), dtype=np.uint8)
    for number in range(40):
        write_label_map(tmp_path / "voc", f"a{number}", VOC_NAMES, labels, seed=number)
        write_label_map(tmp_path / "voc", f"b{number}", VOC_NAMES, labels, seed=number)
    sides = {photo.name[4:]: held_out(photo) for photo in read_photos(tmp_path)}
    assert all(sides[f"a{number}"] == sides[f"b{number}"] for number in range(40))
    assert len(set(sides.values())) == 2
