from pathlib import Path

import numpy as np
import pytest
import torch

from self1e.recipe.fresh_views import FreshExamples
from self1e.recipe.photos import Photo, read_photos
from tests.self1e.recipe.synthetic_photos import (
    HEIGHT,
    VOC_NAMES,
    WIDTH,
    write_all_sources,
    write_label_map,
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Photo]:
    return read_photos(write_all_sources(tmp_path_factory.mktemp("data")))


def examples(photos: list[Photo], seed: str = "0") -> FreshExamples:
    return FreshExamples(photos, seed=seed, size=56, views=6, prompts=3, absent=0.3)


def test_an_example_is_a_view_and_what_is_asked_of_it(photos: list[Photo]) -> None:
    made = examples(photos)
    assert len(made) == 6
    for number in range(len(made)):
        example = made[number]
        assert example.pixel_values is not None
        assert example.pixel_values.shape == (1, 3, 56, 56)
        assert example.masks.shape[0] == len(example.questions) == 3
        assert example.counted.shape == example.masks.shape[1:]


def test_the_same_number_and_seed_are_the_same_example(photos: list[Photo]) -> None:
    first, again, other = (
        examples(list(reversed(photos)))[2],
        examples(photos)[2],
        examples(photos, seed="1")[2],
    )
    assert first.pixel_values is not None
    assert again.pixel_values is not None
    assert other.pixel_values is not None
    assert first.questions == again.questions
    assert torch.equal(first.pixel_values, again.pixel_values)
    assert not torch.equal(first.pixel_values, other.pixel_values)


def test_photos_of_which_nothing_can_be_asked_are_told(tmp_path: Path) -> None:
    nothing = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    write_label_map(tmp_path / "voc", "blank", VOC_NAMES, nothing)
    with pytest.raises(ValueError, match="shows anything"):
        examples(read_photos(tmp_path))[0]
