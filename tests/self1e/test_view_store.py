"""What a training is asked of a view."""

from random import Random

import pytest

from self1e.checkpoint import load_predictor
from self1e.predictor import presence
from self1e.replay import SAMPLE_PHOTOS
from self1e.taught_views import PhotoLesson
from self1e.training import TrainingExample
from self1e.view_store import PlannedView, ViewStore

ABSENT = tuple(f"the {noun}" for noun in ("airplane", "boat", "bus", "laptop", "skirt", "truck"))
(CAT,) = (photo for photo in SAMPLE_PHOTOS if photo.stem == "cat")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ViewStore:
    """Two views of a cat; what is replayed about the second is in none of it."""
    lesson = PhotoLesson(CAT, ())
    predictor = load_predictor("demo", device="cpu")
    store = ViewStore(
        tmp_path_factory.mktemp("views"),
        [PlannedView(lesson, 0, (*ABSENT, "the cat")), PlannedView(lesson, 0, ABSENT)],
        predictor.encoder,
        seed=0,
        max_tiles=1,
        keep_vision=True,
    )
    store.prepare(predictor.model, lambda: None, description="views", progress=False)
    return store


def asks_for(example: TrainingExample, prompt: str) -> bool:
    return any(prompt in turn for turn, _ in example.questions)


@pytest.mark.parametrize("seed", range(5))
def test_half_of_what_is_replayed_shows_something_if_anything_does(
    store: ViewStore, seed: int
) -> None:
    example = store.example(0, Random(seed), replayed=4)
    assert len(example.questions) == 1 + 3
    assert asks_for(example, "the cat")
    shown = [presence(mask) > 0.5 for mask in example.masks]
    assert shown == ["the cat" in turn for turn, _ in example.questions]


def test_where_nothing_fits_that_is_replayed(store: ViewStore) -> None:
    example = store.example(1, Random(0), replayed=4)
    assert len(example.questions) == 4
    assert not any(presence(mask) > 0.5 for mask in example.masks)
