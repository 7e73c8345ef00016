import io
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.embedding_cache import EmbeddingCache
from backend.errors import PredictionFailedError
from backend.held_versions import HeldVersions
from backend.image_embeddings import Embedding
from backend.jobs import SegmentJob
from backend.label_config import MaskControl
from backend.prediction import Segmentation, TaskPredictor
from backend.prompts import LabelledPrompt
from backend.version_store import NewVersion, VersionStore
from tests.taught_photos import square_photo

BASE = "tiny-1"


class Encoded:
    nbytes = 1


class Answer:
    mask = np.ones((72, 96), dtype=np.bool_)
    score = 0.5


class AllOf:
    """A model that marks everything: the seam that other tests have a tiny model for."""

    def encode_image(self, image: Image.Image) -> Embedding:
        return Encoded()

    def encode_images(self, images: Iterator[Image.Image]) -> Sequence[Embedding]:
        return [Encoded() for _ in images]

    def segment(
        self, embedding: Any, prompts: Sequence[str], *, threshold: float
    ) -> Sequence[Segmentation]:
        return [Answer() for _ in prompts]


class Photos:
    def fetch(self, url: str, *, task_id: int | str | None = None) -> bytes:
        buffer = io.BytesIO()
        square_photo(1)[0].save(buffer, "PNG")
        return buffer.getvalue()


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    return VersionStore(tmp_path, BASE)


def publish(store: VersionStore) -> str:
    run = str(len(store.names()))
    return store.publish(NewVersion(store.current(), "f", run, "passed", lambda _: None)).name


class Loading:
    """Loads versions, and counts how often."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.broken: set[str] = set()

    def __call__(self, version: str) -> TaskPredictor:
        self.loaded.append(version)
        if version in self.broken:
            raise ValueError("damaged")
        return TaskPredictor(
            AllOf(), Photos(), EmbeddingCache(10), model_version=version, max_megapixels=1
        )


def job(version: str) -> SegmentJob:
    control = MaskControl("mask", "image", "brushlabels")
    return SegmentJob("1", (LabelledPrompt("the square", "Square"),), control, version)


def test_jobs_are_answered_by_the_version_they_ask_for_before_and_after_a_change(
    store: VersionStore,
) -> None:
    load = Loading()
    versions = HeldVersions(store, load)
    assert versions.current == BASE
    first = publish(store)
    # Another worker has changed already: its version is loaded for the job.
    assert versions.run(job(first))["model_version"] == first
    assert versions.current == BASE
    versions.look()
    assert versions.current == first
    assert versions.run(job(BASE))["model_version"] == BASE
    assert load.loaded == [BASE, first]


def test_images_are_prepared_by_the_version_that_is_asked_alone(store: VersionStore) -> None:
    versions = HeldVersions(store, Loading())
    first = publish(store)
    versions.look()
    versions.prepare([job(first)])
    versions.prepare([job(BASE), job(first)])
    assert versions.run(job(first))["model_version"] == first


def test_a_version_nobody_knows_is_refused(store: VersionStore) -> None:
    versions = HeldVersions(store, Loading())
    with pytest.raises(PredictionFailedError, match="asks for model version other"):
        versions.run(job("other"))


def test_the_former_version_is_let_go_when_nobody_asks_for_it(store: VersionStore) -> None:
    load = Loading()
    versions = HeldVersions(store, load, former_seconds=0)
    first = publish(store)
    versions.look()
    assert versions.current == first
    versions.run(job(BASE))
    assert load.loaded == [BASE, first, BASE]
    versions.look()
    store.rollback()
    versions.look()
    assert versions.current == BASE
    assert versions.run(job(BASE))["model_version"] == BASE


def test_a_version_that_cannot_be_loaded_changes_nothing_and_is_tried_once(
    store: VersionStore,
) -> None:
    load = Loading()
    versions = HeldVersions(store, load)
    broken = publish(store)
    load.broken.add(broken)
    versions.look()
    versions.look()
    assert versions.current == BASE
    assert load.loaded == [BASE, broken]
    assert versions.run(job(BASE))["model_version"] == BASE
    good = publish(store)
    versions.look()
    assert versions.current == good


def test_it_follows_what_is_served_while_jobs_run(store: VersionStore) -> None:
    versions = HeldVersions(store, Loading())
    changed = threading.Event()
    with versions.follow():
        first = publish(store)
        for _ in range(600):
            answered = versions.run(job(versions.current))["model_version"]
            if answered == first:
                break
            assert answered == BASE
            changed.wait(0.1)
    assert versions.current == first
