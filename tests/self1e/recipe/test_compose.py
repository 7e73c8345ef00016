from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from self1e.recipe.compose import crop, flip, mosaic, paste, random_crop, resize
from self1e.recipe.photos import LabelledImage, Region
from tests.self1e.recipe.synthetic_photos import HEIGHT, WIDTH, box


def flat(value: int) -> NDArray[np.uint8]:
    return np.full((HEIGHT, WIDTH, 3), value, dtype=np.uint8)


def photo(
    value: int, *regions: Region, known: frozenset[str] = frozenset(), unsure: bool = False
) -> LabelledImage:
    return LabelledImage(flat(value), regions, box(0, 0, 5, 5) if unsure else None, known)


def one_dog(value: int = 100, known: frozenset[str] = frozenset({"dog", "cat"})) -> LabelledImage:
    mask = box(20, 10, 40, 30)
    dog = Region("dog", mask, (mask,))
    return photo(value, dog, Region("animal", mask), known=known | {"animal"})


def masks(labelled: LabelledImage) -> dict[str, Region]:
    return {region.concept: region for region in labelled.regions}


def test_crop_drops_what_is_outside() -> None:
    labelled = photo(1, Region("dog", box(0, 0, 20, 20)), Region("cat", box(40, 50, 60, 80)))
    cut = crop(labelled, 0, 0, 30, 30)
    assert cut.size == (30, 30)
    assert set(masks(cut)) == {"dog"}
    assert masks(cut)["dog"].mask.sum() == 400


def test_crop_drops_things_outside_but_keeps_the_others() -> None:
    near, far = box(0, 0, 20, 20), box(40, 50, 60, 80)
    cut = crop(photo(1, Region("dog", near | far, (near, far))), 0, 0, 30, 30)
    assert len(masks(cut)["dog"].instances) == 1


def test_flip_mirrors_pixels_marks_and_unsure_pixels() -> None:
    image = flat(0)
    image[:, 0] = 255
    labelled = LabelledImage(
        image, (Region("dog", box(0, 0, 60, 1)),), box(0, 0, 9, 9), frozenset()
    )
    mirrored = flip(labelled)
    assert (mirrored.image[:, -1] == 255).all()
    assert masks(mirrored)["dog"].mask[:, -1].all()
    assert mirrored.ignore is not None
    assert mirrored.ignore[0, -1]
    assert not mirrored.ignore[0, 0]


def test_resize_scales_marks_with_pixels() -> None:
    scaled = resize(one_dog(), 30, 40)
    assert scaled.image.shape == (30, 40, 3)
    assert masks(scaled)["dog"].mask.sum() == 100


@pytest.mark.parametrize("aspect", [None, 0.5, 2.0])
def test_random_crop_keeps_most_of_a_region(aspect: float | None) -> None:
    whole = one_dog()
    for seed in range(60):
        cut = random_crop(whole, Random(seed), aspect=aspect)
        assert masks(cut)["dog"].mask.sum() >= 0.8 * 400
        assert cut.image.shape[:2] == masks(cut)["dog"].mask.shape


def test_mosaic_tells_two_dogs_apart() -> None:
    made = mosaic([one_dog(10), one_dog(200)], side_by_side=True)
    assert made is not None
    left, right = masks(made)["dog"].instances
    assert np.nonzero(left)[1].max() < 240 <= np.nonzero(right)[1].min()
    assert made.image[0, 0, 0] == 10
    assert made.image[0, -1, 0] == 200


def test_mosaic_stacks() -> None:
    made = mosaic([one_dog(10), one_dog(200)], side_by_side=False)
    assert made is not None
    top, bottom = masks(made)["dog"].instances
    assert np.nonzero(top)[0].max() < 240 <= np.nonzero(bottom)[0].min()


def test_mosaic_keeps_only_what_both_halves_know() -> None:
    goat = photo(1, Region("goat", box(0, 0, 30, 30)))
    cat = photo(2, Region("cat", box(0, 0, 30, 30)), known=frozenset({"dog", "cat", "animal"}))
    assert mosaic([one_dog(), goat], side_by_side=True) is None
    made = mosaic([one_dog(), cat], side_by_side=True)
    assert made is not None
    assert set(masks(made)) == {"dog", "cat", "animal"}
    assert masks(made)["cat"].instances == ()


def test_what_a_mosaic_leaves_out_is_not_absent() -> None:
    known = frozenset({"dog", "animal"})
    unaware = photo(3, Region("dog", box(0, 0, 30, 30)), known=known)
    with_cup = photo(4, Region("cup", box(0, 0, 9, 9)), known=known | {"cup", "bed"})
    made = mosaic([unaware, with_cup], side_by_side=True)
    assert made is not None
    assert set(masks(made)) == {"dog"}
    assert made.known_concepts == known


def pasted(onto: LabelledImage, source: LabelledImage, concept: str) -> LabelledImage:
    tries = (paste(onto, source, concept, Random(seed)) for seed in range(50))
    return next(made for made in tries if made is not None)


def test_paste_adds_a_thing_and_its_pixels() -> None:
    made = pasted(one_dog(50), one_dog(250), "dog")
    old, new = masks(made)["dog"].instances
    assert made.image[new].mean() > 200
    assert made.image[old].mean() < 80
    np.testing.assert_array_equal(masks(made)["dog"].mask, old | new)
    assert masks(made)["animal"].mask[new].all()
    assert not (old & new).any()


def test_paste_marks_a_thing_where_there_was_none() -> None:
    empty = photo(0, Region("cat", box(0, 0, 8, 8)), known=frozenset({"dog", "animal"}))
    made = pasted(empty, one_dog(250), "dog")
    assert len(masks(made)["dog"].instances) == 1
    np.testing.assert_array_equal(masks(made)["animal"].mask, masks(made)["dog"].mask)


def test_paste_cannot_count_where_dogs_were_not_told_apart() -> None:
    several = photo(0, Region("dog", box(0, 0, 8, 40)), known=frozenset({"dog"}))
    assert masks(pasted(several, one_dog(), "dog"))["dog"].instances == ()


@pytest.mark.parametrize(
    "source",
    [
        photo(1, Region("dog", box(0, 10, 40, 30), (box(0, 10, 40, 30),))),
        photo(
            1,
            Region("dog", box(20, 10, 40, 30), (box(20, 10, 40, 30),)),
            Region("tie", box(20, 10, 30, 30)),
        ),
        photo(1, Region("dog", box(20, 10, 40, 30))),
    ],
    ids=["cut off by the photo", "wears something else", "not told apart"],
)
def test_paste_refuses_what_it_cannot_cut_out(source: LabelledImage) -> None:
    assert all(paste(one_dog(), source, "dog", Random(seed)) is None for seed in range(30))


def test_paste_refuses_where_the_concept_is_not_known() -> None:
    street = photo(0, Region("dress", box(0, 0, 8, 8)))
    assert all(paste(street, one_dog(), "dog", Random(seed)) is None for seed in range(30))


def test_paste_never_hides_a_thing() -> None:
    crowded = photo(
        0,
        *(Region(name, box(top, 0, top + 6, 80)) for name, top in (("cat", 10), ("cup", 30))),
        known=frozenset({"dog"}),
    )
    for seed in range(60):
        made = paste(crowded, one_dog(), "dog", Random(seed))
        if made is not None:
            assert all(masks(made)[name].mask.sum() >= 240 for name in ("cat", "cup"))
