import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from backend.brush_rle import decode_mask
from backend.embedding_cache import EmbeddingCache
from backend.errors import BadRequestError, ImageError, PredictionFailedError
from backend.image_embeddings import Embedding
from backend.jobs import SegmentJob
from backend.label_config import MaskControl
from backend.parameters import MaskParameters
from backend.prediction import TaskPredictor
from backend.prompts import LabelledPrompt
from backend.regions import MAX_REGIONS, MAX_TASK_REGIONS
from self1e.errors import PromptError

MEBIBYTE = 2**20
JOB = SegmentJob(
    "http://images.test/1.png",
    (LabelledPrompt("left", "car"), LabelledPrompt("nothing", "bus")),
    MaskControl("mask", "image", "brushlabels"),
    "test-1",
    task_id=7,
)


@dataclass(frozen=True)
class Encoded:
    image_size: tuple[int, int]
    nbytes: int = 1000


@dataclass(frozen=True)
class Segmented:
    mask: NDArray[np.bool_]
    score: float


@dataclass
class LeftHalf:
    """A model that finds the left half of an image, or nothing, and counts what it is asked."""

    encoded: list[tuple[int, int]] = field(default_factory=list)
    passes: list[int] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)

    def encode_images(self, images: Iterator[Image.Image]) -> list[Encoded]:
        sizes = [image.size for image in images]
        self.encoded += sizes
        self.passes.append(len(sizes))
        return [Encoded((height, width)) for width, height in sizes]

    def segment(
        self, embedding: Encoded, prompts: Sequence[str], *, threshold: float
    ) -> list[Segmented]:
        self.asked.append(list(prompts))
        if "too long" in prompts:
            raise PromptError("It has 900 tokens.")
        self.thresholds.append(threshold)
        left = np.zeros(embedding.image_size, dtype=np.bool_)
        left[:, : embedding.image_size[1] // 2] = True
        masks = {"left": left, "stripes": np.arange(left.shape[1]) % 2 == np.ones_like(left)}
        return [
            Segmented(masks[prompt], 0.9) if prompt in masks else Segmented(left & False, 0.6)
            for prompt in prompts
        ]


@dataclass
class Files:
    """Images by URL."""

    content: dict[str, bytes]
    fetched: list[tuple[str, int | str | None]] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)

    def fetch(self, url: str, *, task_id: int | str | None = None) -> bytes:
        self.fetched.append((url, task_id))
        if url in self.failing:
            raise ImageError("It is gone.")
        return self.content[url]


def png(width: int = 8, height: int = 6, colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def model() -> LeftHalf:
    return LeftHalf()


@pytest.fixture
def files() -> Files:
    return Files({JOB.image_url: png()})


@pytest.fixture
def predictor(model: LeftHalf, files: Files) -> TaskPredictor:
    cache: EmbeddingCache[Embedding] = EmbeddingCache(MEBIBYTE)
    return TaskPredictor(model, files, cache, model_version="test-1", max_megapixels=1)


def test_a_prediction_holds_a_region_per_mask_that_is_not_empty(
    predictor: TaskPredictor, model: LeftHalf, files: Files
) -> None:
    prediction = predictor.run(JOB)
    assert json.loads(json.dumps(prediction)) == prediction
    assert prediction["model_version"] == "test-1"
    assert prediction["score"] == 0.6
    (region,) = prediction["result"]
    assert region["value"]["brushlabels"] == ["car"]
    mask = decode_mask(region["value"]["rle"], 6, 8)
    assert mask[:, :4].all()
    assert not mask[:, 4:].any()
    assert files.fetched == [(JOB.image_url, 7)]
    assert model.asked == [["left", "nothing"]]


def test_a_small_picture_of_each_answer_is_shown_also_if_the_embedding_was_kept(
    model: LeftHalf, files: Files
) -> None:
    shown: dict[str, bytes] = {}
    predictor = TaskPredictor(
        model,
        files,
        EmbeddingCache(MEBIBYTE),
        model_version="test-1",
        max_megapixels=1,
        show=shown.__setitem__,
    )
    again = replace(JOB, prompts=JOB.prompts[:1])
    predictor.run(JOB)
    predictor.run(again)
    assert list(shown) == [JOB.id, again.id]
    for picture in shown.values():
        left, right = np.asarray(Image.open(io.BytesIO(picture)))[3, [1, 6]].astype(int)
        assert abs(left - right).max() > 30  # the mask is the left half


def test_when_nothing_is_there_the_prediction_is_empty(predictor: TaskPredictor) -> None:
    prediction = predictor.run(replace(JOB, prompts=JOB.prompts[1:]))
    assert prediction == {"result": [], "score": 0.6, "model_version": "test-1"}


def test_an_image_is_encoded_once_whatever_its_url(
    predictor: TaskPredictor, model: LeftHalf, files: Files
) -> None:
    files.content["http://images.test/copy.png"] = png()
    files.content["http://images.test/blue.png"] = png(colour="blue")
    predictor.run(JOB)
    predictor.run(replace(JOB, image_url="http://images.test/copy.png"))
    assert len(model.encoded) == 1
    predictor.run(replace(JOB, image_url="http://images.test/blue.png"))
    assert len(model.encoded) == 2


def test_a_url_with_new_content_is_encoded_anew(
    predictor: TaskPredictor, model: LeftHalf, files: Files
) -> None:
    predictor.run(JOB)
    files.content[JOB.image_url] = png(width=10)
    assert predictor.run(JOB)["result"][0]["original_width"] == 10
    assert model.encoded == [(8, 6), (10, 6)]


def test_a_prompt_has_the_same_region_whatever_else_is_asked(
    predictor: TaskPredictor, model: LeftHalf, files: Files
) -> None:
    (together,) = predictor.run(JOB)["result"]
    files.content["http://images.test/copy.png"] = png()
    alone = replace(JOB, prompts=JOB.prompts[:1], image_url="http://images.test/copy.png")
    assert predictor.run(alone)["result"] == [together]


def test_the_parameters_reach_model_and_regions(predictor: TaskPredictor, model: LeftHalf) -> None:
    (region,) = predictor.run(JOB)["result"]
    (other,) = predictor.run(replace(JOB, parameters=MaskParameters(0.3)))["result"]
    assert model.thresholds == [0.5, 0.3]
    assert other["id"] != region["id"]


def test_an_answer_to_many_prompts_has_no_more_regions_than_the_editor_can_take(
    predictor: TaskPredictor, files: Files
) -> None:
    files.content[JOB.image_url] = png(width=2 * MAX_REGIONS + 20)
    prompts = tuple(LabelledPrompt("stripes", f"label {number}") for number in range(8))
    each = replace(JOB, prompts=prompts, parameters=MaskParameters(mode="each"))
    found = predictor.run(each)["result"]
    assert len(found) == MAX_TASK_REGIONS
    labels = Counter(region["value"]["brushlabels"][0] for region in found)
    assert set(labels.values()) == {MAX_TASK_REGIONS // len(prompts)}


def test_another_version_is_refused_before_any_work(predictor: TaskPredictor, files: Files) -> None:
    with pytest.raises(PredictionFailedError, match=r"other-2, this worker serves test-1"):
        predictor.run(replace(JOB, model_version="other-2"))
    assert files.fetched == []


@pytest.mark.parametrize("content", [b"not an image", png(1001, 1000)])
def test_a_bad_image_fails_its_job_alone(
    predictor: TaskPredictor, files: Files, content: bytes
) -> None:
    files.content["http://images.test/bad"] = content
    with pytest.raises(ImageError):
        predictor.run(replace(JOB, image_url="http://images.test/bad"))
    result: list[Any] = predictor.run(JOB)["result"]
    assert len(result) == 1


def jobs(files: Files, images: dict[str, bytes]) -> list[SegmentJob]:
    """One job for each image by its name."""
    urls = {f"http://images.test/{name}": data for name, data in images.items()}
    files.content |= urls
    return [replace(JOB, image_url=url) for url in urls]


def test_images_prepared_together_are_encoded_in_one_pass_and_fetched_once(
    predictor: TaskPredictor, model: LeftHalf, files: Files
) -> None:
    predictor.run(JOB)
    batch = jobs(
        files,
        {"cached": png(), "2": png(10), "3": png(12), "2 again": png(10)},
    )
    predictor.prepare(batch)
    assert model.passes == [1, 2]
    widths = [predictor.run(job)["result"][0]["original_width"] for job in batch]
    assert widths == [8, 10, 12, 10]
    assert model.passes == [1, 2]
    assert len(files.fetched) == 1 + len(batch)
    predictor.run(batch[1])
    assert len(files.fetched) == 2 + len(batch)


def test_a_bad_image_spoils_only_its_own_job_of_those_prepared_together(
    predictor: TaskPredictor, model: LeftHalf, files: Files
) -> None:
    batch = jobs(files, {"1": png(10), "bad": b"not an image", "3": png(12), "gone": b""})
    files.failing.add(batch[3].image_url)
    predictor.prepare(batch)
    assert model.passes == [2]
    for job, width in ((batch[0], 10), (batch[2], 12)):
        assert predictor.run(job)["result"][0]["original_width"] == width
    for job in (batch[1], batch[3]):
        with pytest.raises(ImageError):
            predictor.run(job)
    files.failing.clear()
    files.content[batch[3].image_url] = png(14)
    assert predictor.run(batch[3])["result"][0]["original_width"] == 14


def test_what_was_prepared_and_not_run_is_forgotten(predictor: TaskPredictor, files: Files) -> None:
    batch = jobs(files, {"1": png(10), "2": png(12)})
    predictor.prepare(batch)
    predictor.prepare(batch[:1])
    predictor.run(batch[1])
    assert len(files.fetched) == 4


def test_images_are_prepared_even_if_none_is_kept(model: LeftHalf, files: Files) -> None:
    predictor = TaskPredictor(
        model, files, EmbeddingCache(0), model_version="test-1", max_megapixels=1
    )
    batch = jobs(files, {"1": png(10), "2": png(12)})
    predictor.prepare(batch)
    for job in batch:
        predictor.run(job)
    assert model.passes == [2]


def test_a_prompt_that_the_model_cannot_take_is_told(predictor: TaskPredictor) -> None:
    with pytest.raises(BadRequestError, match="900 tokens"):
        predictor.run(replace(JOB, prompts=(replace(JOB.prompts[0], text="too long"),)))
