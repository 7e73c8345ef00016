import re
from collections import Counter
from random import Random

import numpy as np
from numpy.typing import NDArray

from self1e.recipe.photos import BoolMask
from self1e.recipe.targets import (
    MASK_SIZE,
    Mark,
    View,
    draw_targets,
    references,
    shrink_mask,
)


def square(top: int, left: int, side: int) -> BoolMask:
    mask = np.zeros((MASK_SIZE, MASK_SIZE), dtype=np.bool_)
    mask[top : top + side, left : left + side] = True
    return mask


def view(
    regions: dict[str, BoolMask],
    instances: dict[str, list[BoolMask]] | None = None,
    absent: tuple[str, ...] = (),
) -> View:
    pixels: NDArray[np.uint8] = np.zeros((8, 8, 3), dtype=np.uint8)
    return View(
        pixels=pixels,
        regions={concept: Mark.of(mask) for concept, mask in regions.items()},
        instances={
            concept: tuple(Mark.of(mask) for mask in masks)
            for concept, masks in (instances or {}).items()
        },
        ignored=Mark.of(square(0, 0, 4)),
        absent=absent,
        source="voc",
    )


LEFT, RIGHT = square(40, 10, 30), square(40, 80, 20)
TWO_DOGS = view({"dog": LEFT | RIGHT}, {"dog": [LEFT, RIGHT]}, ("cat", "train"))


def test_a_mark_gives_back_its_mask() -> None:
    mask = np.random.default_rng(0).random((MASK_SIZE, MASK_SIZE)) > 0.5
    mark = Mark.of(mask)
    np.testing.assert_array_equal(mark.mask, mask)
    assert mark.area == mask.mean()
    assert mark.packed.nbytes == mask.size // 8


def test_an_empty_mark_has_no_area() -> None:
    assert Mark.of(square(0, 0, 0)).area == 0


def test_shrinking_keeps_what_fills_most_of_a_pixel() -> None:
    mask = np.zeros((256, 512), dtype=np.bool_)
    mask[:128, :256] = True
    mask[200, 400] = True
    np.testing.assert_array_equal(shrink_mask(mask), square(0, 0, 64))


def test_pixels_can_be_dropped() -> None:
    small = TWO_DOGS.without_pixels()
    assert small.pixels.nbytes == 0
    assert small.regions == TWO_DOGS.regions
    ignore = small.ignore
    assert ignore is not None
    assert ignore.sum() == 16


def told(*masks: BoolMask) -> dict[str, int]:
    return dict(references([Mark.of(mask) for mask in masks]))


def test_two_things_are_told_by_side_and_size() -> None:
    assert told(LEFT, RIGHT) == {
        "left": 0,
        "right": 1,
        "leftmost": 0,
        "rightmost": 1,
        "largest": 0,
        "smallest": 1,
    }


def test_two_things_are_told_by_height() -> None:
    assert told(square(80, 40, 20), square(10, 40, 20)) == {"top": 1, "bottom": 0}


def test_three_things_have_no_left_one_but_a_leftmost() -> None:
    found = told(square(40, 10, 20), square(40, 50, 20), square(40, 90, 20))
    assert found == {"leftmost": 0, "rightmost": 2}


def test_things_alike_in_place_and_size_are_not_told_apart() -> None:
    assert told(square(40, 40, 20), square(42, 42, 20)) == {}
    assert told(LEFT) == {}


def test_a_tiny_thing_is_not_asked_for_but_counts() -> None:
    speck = square(40, 2, 3)
    found = told(speck, LEFT, RIGHT)
    assert "leftmost" not in found
    assert "left" not in found
    assert "smallest" not in found
    assert found["rightmost"] == 2
    assert found["largest"] == 1


def test_prompts_ask_for_different_things_first() -> None:
    many = {c: square(10 * at, 10 * at, 20) for at, c in enumerate(["dog", "cat", "car", "bus"])}
    for seed in range(20):
        targets = draw_targets(view(many), Random(seed), 4, absent=0.5)
        assert {target.concept for target in targets} == set(many)


def test_every_mask_is_what_its_prompt_says() -> None:
    for seed in range(100):
        for target in draw_targets(TWO_DOGS, Random(seed), 6, absent=0.3):
            if target.kind == "absent":
                expected = square(0, 0, 0)
                assert target.concept in ("cat", "train")
            elif target.kind == "category":
                expected = LEFT | RIGHT
            elif re.search("left|larg|big", target.prompt):
                expected = LEFT
            else:
                assert re.search("right|small|little", target.prompt)
                expected = RIGHT
            np.testing.assert_array_equal(target.mask, expected)


def test_kinds_come_in_their_shares() -> None:
    rng = Random(0)
    kinds = Counter(
        target.kind for _ in range(500) for target in draw_targets(TWO_DOGS, rng, 8, absent=0.25)
    )
    assert kinds.total() == 4000
    assert 0.2 < kinds["absent"] / 4000 < 0.3
    assert 0.4 < kinds["reference"] / 4000 < 0.5  # 0.6 of what is there


def test_clothes_are_parts() -> None:
    targets = draw_targets(view({"dress": LEFT}), Random(0), 1, absent=0)
    assert [target.kind for target in targets] == ["part"]


def test_wholes_are_asked_for_less_than_what_they_are_made_of() -> None:
    both = view({"dog": LEFT, "animal": LEFT})
    rng = Random(0)
    asked = Counter(
        target.concept for _ in range(400) for target in draw_targets(both, rng, 1, absent=0)
    )
    assert asked["dog"] > 4 * asked["animal"] > 0


def test_tiny_regions_are_left_out() -> None:
    with_speck = view({"dog": LEFT, "cat": square(0, 0, 5)})
    targets = draw_targets(with_speck, Random(0), 10, absent=0)
    assert {target.concept for target in targets} == {"dog"}


def test_a_view_of_nothing_is_only_asked_in_vain() -> None:
    targets = draw_targets(view({}, absent=("dog",)), Random(0), 3, absent=0)
    assert [target.kind for target in targets] == ["absent"] * 3
    assert draw_targets(view({}), Random(0), 3, absent=0.5) == []
