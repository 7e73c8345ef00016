from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest

from self1e.recipe.photos import Photo, read_photos
from self1e.recipe.targets import draw_targets, shrink_mask
from self1e.recipe.views import make_view, plan_views
from tests.self1e.recipe.synthetic_photos import write_all_sources


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    return read_photos(write_all_sources(tmp_path))


def named(photos: list[Photo], name: str) -> Photo:
    return next(photo for photo in photos if photo.name == name)


def test_a_plain_view_is_the_squashed_photo(photos: list[Photo]) -> None:
    photo = named(photos, "coco128/1")
    labelled = photo.load()
    view = make_view(photo, Random(0), 48, augment=False, others=photos)
    assert view.pixels.shape == (48, 48, 3)
    assert view.pixels.dtype == np.uint8
    assert set(view.regions) == {region.concept for region in labelled.regions}
    for region in labelled.regions:
        np.testing.assert_array_equal(view.regions[region.concept].mask, shrink_mask(region.mask))
    assert [round(thing.area, 2) for thing in view.instances["cup"]] == [0.1, 0.02]
    assert view.ignore is None


def test_unsure_pixels_stay_with_the_view(photos: list[Photo]) -> None:
    view = make_view(named(photos, "voc/dog"), Random(0), 48, augment=False, others=photos)
    assert view.ignore is not None
    assert not (view.ignore & view.regions["dog"].mask).any()


def test_views_are_asked_in_vain_for_what_other_photos_show(photos: list[Photo]) -> None:
    shown = {concept for photo in photos for concept in photo.concepts}
    for photo in photos:
        view = make_view(photo, Random(0), 32, augment=False, others=photos)
        assert set(view.absent) <= shown - photo.concepts
    dog = named(photos, "voc/dog")
    absent: set[str] = set()
    for seed in range(5):
        absent.update(make_view(dog, Random(seed), 32, augment=False, others=photos).absent)
    assert {"person", "sofa", "dress"} <= absent
    assert "cup" not in absent


def test_a_view_without_other_photos_still_works(photos: list[Photo]) -> None:
    view = make_view(photos[0], Random(0), 32, augment=True, others=[])
    assert view.absent == ()
    assert view.regions


def test_one_seed_makes_one_view(photos: list[Photo]) -> None:
    for seed in range(10):
        first, second = (
            make_view(photos[0], Random(seed), 32, augment=True, others=photos) for _ in range(2)
        )
        np.testing.assert_array_equal(first.pixels, second.pixels)
        assert first.absent == second.absent
        assert list(first.regions) == list(second.regions)


def test_augmented_views_hold_together(photos: list[Photo]) -> None:
    things: Counter[int] = Counter()
    for seed in range(150):
        rng = Random(seed)
        view = make_view(rng.choice(photos), rng, 32, augment=True, others=photos)
        assert not set(view.absent) & set(view.regions)
        for concept, marks in view.instances.items():
            whole = view.regions[concept].mask
            for mark in marks:
                assert not (mark.mask & ~whole).any()
        things.update(len(marks) for marks in view.instances.values())
        for target in draw_targets(view, rng, 4, absent=0.25):
            assert target.mask.any() == (target.kind != "absent")
    assert things[2] > 10


def test_a_plan_shows_every_photo_and_small_sources_more(photos: list[Photo]) -> None:
    plan = plan_views(photos, 200, Random(0))
    shown = Counter(photo.name for photo, _ in plan)
    assert len(plan) == 200
    assert set(shown) == {photo.name for photo in photos}
    assert shown["coco128/1"] > shown["ccp/0001"]
    assert 0.7 < sum(augment for _, augment in plan) / 200 < 0.95


def test_a_plan_depends_on_the_seed_alone(photos: list[Photo]) -> None:
    first, second = (plan_views(photos, 50, Random(3)) for _ in range(2))
    assert [(photo.name, augment) for photo, augment in first] == [
        (photo.name, augment) for photo, augment in second
    ]


def test_photos_of_rare_concepts_are_shown_more(photos: list[Photo]) -> None:
    dog, home = named(photos, "voc/dog"), named(photos, "voc/home")
    shown = Counter(photo.name for photo, _ in plan_views([dog, *[home] * 59], 600, Random(0)))
    assert shown["voc/dog"] > 3 * shown["voc/home"] / 59
