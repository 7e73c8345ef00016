from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from self1e.dataset import SegmentationSample
from self1e.evaluate import evaluate
from self1e.metrics import iou
from self1e.predictor import Predictor

PROMPTS = ["dog", "the man on the right", "a red car"]


def save_mask(mask: NDArray[np.bool_], path: Path) -> Path:
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return path


@pytest.fixture
def image(tmp_path: Path, photo: Image.Image) -> Path:
    path = tmp_path / "photo.png"
    photo.save(path)
    return path


@pytest.fixture
def masks(tiny_predictor: Predictor, photo: Image.Image) -> list[NDArray[np.bool_]]:
    """What the tiny model answers to the prompts."""
    found = tiny_predictor.segment(tiny_predictor.encode_image(photo), PROMPTS)
    return [segmentation.mask for segmentation in found]


def test_figures_compare_masks_with_ground_truths(
    tmp_path: Path, image: Path, tiny_predictor: Predictor, masks: list[NDArray[np.bool_]]
) -> None:
    truths = [masks[0], ~masks[1], np.zeros_like(masks[2])]
    samples = [
        SegmentationSample(image, prompt, save_mask(truth, tmp_path / f"{i}.png"))
        for i, (prompt, truth) in enumerate(zip(PROMPTS, truths, strict=True))
    ]
    seen: list[NDArray[np.bool_]] = []
    evaluation = evaluate(tiny_predictor, samples, progress=False, seen=seen.append)
    ious = [result.iou for result in evaluation.results]
    # In batches of other sizes a pixel whose logit is next to 0 may fall to the other side.
    assert ious == pytest.approx([1, 0, 0], abs=0.01)
    assert evaluation.metrics.samples == 3
    assert evaluation.metrics.giou == pytest.approx(1 / 3, abs=0.01)
    union = masks[0].sum() + masks[1].size + masks[2].sum()
    assert evaluation.metrics.ciou == pytest.approx(masks[0].sum() / union, abs=0.01)
    assert [result.sample for result in evaluation.results] == samples
    assert [iou(*pair) for pair in zip(seen, truths, strict=True)] == ious
    assert all(0 <= result.score <= 1 and not result.empty for result in evaluation.results)


def test_pixels_that_do_not_count_are_left_out(
    tmp_path: Path, image: Path, tiny_predictor: Predictor, masks: list[NDArray[np.bool_]]
) -> None:
    left = np.zeros_like(masks[0])
    left[:, :45] = True
    truth = np.where(left, masks[0], ~masks[0])
    sample = SegmentationSample(
        image,
        PROMPTS[0],
        save_mask(truth, tmp_path / "t.png"),
        save_mask(~left, tmp_path / "i.png"),
    )
    (result,) = evaluate(tiny_predictor, [sample], progress=False).results
    assert iou(masks[0], truth) < 0.8 < 0.99 < result.iou


def test_neighbours_of_one_image_are_encoded_once(
    tmp_path: Path, image: Path, tiny_predictor: Predictor, masks: list[NDArray[np.bool_]]
) -> None:
    passes: list[int] = []
    hook = tiny_predictor.model.internvl.model.vision_tower.register_forward_pre_hook(
        lambda *_: passes.append(1)
    )
    truth = save_mask(masks[0], tmp_path / "t.png")
    evaluate(
        tiny_predictor,
        [SegmentationSample(image, prompt, truth) for prompt in PROMPTS],
        progress=False,
    )
    hook.remove()
    assert len(passes) == 1


def test_ground_truth_of_another_size_is_an_error(
    tmp_path: Path, image: Path, tiny_predictor: Predictor
) -> None:
    truth = save_mask(np.ones((3, 3), dtype=np.bool_), tmp_path / "t.png")
    with pytest.raises(ValueError, match=r"\(60, 90\).*\(3, 3\)"):
        evaluate(tiny_predictor, [SegmentationSample(image, "dog", truth)], progress=False)


def test_no_samples_are_an_error(tiny_predictor: Predictor) -> None:
    with pytest.raises(ValueError, match="no samples"):
        evaluate(tiny_predictor, [], progress=False)
