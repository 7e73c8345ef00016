import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from self1e.errors import PromptError
from self1e.predictor import Predictor, confidence, expected_iou

PROMPTS = ["dog", "the left dog", "a red car", "person", "Is there a tree?"]


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


@pytest.mark.parametrize("size", [(90, 60), (7, 300), (1, 1), (640, 480)])
def test_mask_has_the_images_size(size: tuple[int, int], tiny_predictor: Predictor) -> None:
    embedding = tiny_predictor.encode_image(Image.new("RGB", size, (40, 120, 200)))
    assert embedding.image_size == (size[1], size[0])
    (segmentation,) = tiny_predictor.segment(embedding, ["dog"])
    assert segmentation.mask.shape == (size[1], size[0])
    assert segmentation.mask.dtype == np.bool_
    assert 0 <= segmentation.score <= 1


@pytest.mark.parametrize("max_tiles", [1, 6])
def test_masks_come_in_the_prompts_order(
    max_tiles: int, tiny_predictor: Predictor, photo: Image.Image
) -> None:
    predictor = Predictor(tiny_predictor.model, tiny_predictor.encoder, max_tiles=max_tiles)
    embedding = predictor.encode_image(photo)
    found = predictor.segment(embedding, PROMPTS)
    assert [segmentation.prompt for segmentation in found] == PROMPTS
    for prompt, segmentation in zip(PROMPTS, found, strict=True):
        (alone,) = predictor.segment(embedding, [prompt])
        assert (segmentation.mask == alone.mask).mean() > 0.99
        assert segmentation.score == pytest.approx(alone.score, abs=1e-3)
    assert len({segmentation.mask.tobytes() for segmentation in found}) > 1


def test_a_batch_never_holds_more_prompts_than_it_may(
    tiny_predictor: Predictor, photo: Image.Image
) -> None:
    sizes: list[int] = []
    model = tiny_predictor.model
    hook = model.internvl.model.language_model.register_forward_pre_hook(
        lambda _module, _args, kwargs: sizes.append(len(kwargs["inputs_embeds"])),
        with_kwargs=True,
    )
    predictor = Predictor(model, tiny_predictor.encoder, batch_size=2)
    found = predictor.segment(predictor.encode_image(photo), PROMPTS)
    hook.remove()
    assert sizes == [2, 2, 1]
    assert len(found) == len(PROMPTS)


@pytest.mark.parametrize("max_tiles", [1, 6])
def test_images_encoded_together_are_as_those_encoded_alone(
    max_tiles: int, tiny_predictor: Predictor, photo: Image.Image
) -> None:
    predictor = Predictor(tiny_predictor.model, tiny_predictor.encoder, max_tiles=max_tiles)
    images = [photo, photo.rotate(90, expand=True), photo.resize((300, 40)), photo.convert("L")]
    passes: list[int] = []
    hook = predictor.model.internvl.model.vision_tower.register_forward_pre_hook(
        lambda _module, _args, kwargs: passes.append(len(kwargs["pixel_values"])),
        with_kwargs=True,
    )
    together = predictor.encode_images(iter(images))
    hook.remove()
    assert len(passes) == 1
    for image, embedding in zip(images, together, strict=True):
        alone = predictor.encode_image(image)
        assert embedding.image_size == alone.image_size == (image.height, image.width)
        assert embedding.features.grid == alone.features.grid
        refill, alone_refill = embedding.features.refill, alone.features.refill
        for ours, theirs in (
            (embedding.features.tokens, alone.features.tokens),
            (refill.compressed, alone_refill.compressed),
            (refill.replicated, alone_refill.replicated),
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
            assert ours.untyped_storage().nbytes() == ours.nbytes


def test_no_images_no_embeddings(tiny_predictor: Predictor) -> None:
    assert tiny_predictor.encode_images([]) == []


def test_no_prompts_no_masks(tiny_predictor: Predictor, photo: Image.Image) -> None:
    assert tiny_predictor.segment(tiny_predictor.encode_image(photo), []) == []


def test_one_bad_prompt_is_an_error(tiny_predictor: Predictor, photo: Image.Image) -> None:
    embedding = tiny_predictor.encode_image(photo)
    with pytest.raises(PromptError, match="empty"):
        tiny_predictor.segment(embedding, ["dog", "  "])


def test_embedding_knows_its_size(tiny_predictor: Predictor, photo: Image.Image) -> None:
    width = tiny_predictor.model.config.width
    positions = 4 + 16 + 64  # image tokens, and the mask head's maps
    assert tiny_predictor.encode_image(photo).nbytes == positions * width * 4


def test_another_mode_than_rgb_is_converted(tiny_predictor: Predictor, photo: Image.Image) -> None:
    grey = photo.convert("L")
    (a,), (b,) = (
        tiny_predictor.segment(tiny_predictor.encode_image(image), ["dog"])
        for image in (grey, grey.convert("RGB"))
    )
    assert (a.mask == b.mask).all()


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([[0.9, 0.8], [0.1, 0.2]], (0.9 + 0.8) / (2 + 0.1 + 0.2)),
        ([[0.75, 0.75], [0.75, 0.75]], 0.75),
        ([[0.6, 0.1]], 0.6 / 1.1),
        ([[0.1, 0.3]], 0.7),  # empty: the likeliest pixel does not belong
        ([[0.5, 0.25]], 0.5),  # a logit of 0 is outside
    ],
)
def test_expected_iou(probabilities: list[list[float]], expected: float) -> None:
    logits = torch.tensor([[logit(p) for p in row] for row in probabilities])
    assert expected_iou(logits) == pytest.approx(expected, rel=1e-5)


@settings(deadline=None)
@given(arrays.arrays(np.float32, (3, 4), elements=st.floats(-200, 200, width=32)))
def test_expected_iou_is_a_share(logits: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    assert 0 <= expected_iou(torch.from_numpy(logits)) <= 1


def test_a_higher_threshold_gives_a_smaller_mask(
    tiny_predictor: Predictor, photo: Image.Image
) -> None:
    embedding = tiny_predictor.encode_image(photo)
    # The tiny model is very sure of every pixel.
    thresholds = [0.0, 1e-15, 1e-9, 1e-3, 0.5, 1 - 1e-3, 1 - 1e-9, 1 - 1e-15, 1.0]
    masks = [
        tiny_predictor.segment(embedding, ["dog"], threshold=threshold)[0].mask
        for threshold in thresholds
    ]
    assert masks[0].all()
    assert not masks[-1].any()
    assert all((lower | ~higher).all() for lower, higher in itertools.pairwise(masks))
    assert len({mask.tobytes() for mask in masks}) > 4
    (default,) = tiny_predictor.segment(embedding, ["dog"])
    np.testing.assert_array_equal(default.mask, masks[4])


def test_expected_iou_is_that_of_the_mask_above_the_cut() -> None:
    logits = torch.tensor([[logit(0.9), logit(0.4), logit(0.1)]])
    assert expected_iou(logits, logit(0.3)) == pytest.approx(1.3 / 2.1)
    assert expected_iou(logits, logit(0.95)) == pytest.approx(0.1)
    assert expected_iou(logits, -math.inf) == pytest.approx(1.4 / 3)


def test_confidence_wants_a_plausible_mask_and_a_clear_part_of_it() -> None:
    logits = torch.full((20, 15), logit(0.1))
    logits[3, 4], logits[7, 8], logits[9, 1] = logit(0.9), logit(0.6), logit(0.3)
    assert confidence(logits) == pytest.approx(expected_iou(logits))  # mostly unlikely places
    logits = torch.full((20, 15), -50.0)
    logits[3, 4] = logit(0.9)  # the likeliest hundredth is 3 places
    assert expected_iou(logits) == pytest.approx(0.9)
    assert confidence(logits) == pytest.approx(0.3)


def test_a_mask_is_not_given_where_the_model_sees_nothing_that_fits(
    tiny_predictor: Predictor, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = tiny_predictor.encode_image(photo)
    (given,) = tiny_predictor.segment(embedding, ["dog"])
    probabilities, _ = tiny_predictor.grid_answers(embedding, ["dog"])
    (seen,) = map(confidence, probabilities.double().logit())
    assert given.mask.any()
    for bar, is_given in ((seen - 1e-4, True), (seen + 1e-4, False)):
        monkeypatch.setattr(tiny_predictor.model.config, "min_confidence", bar)
        (found,) = tiny_predictor.segment(embedding, ["dog"])
        np.testing.assert_array_equal(found.mask, given.mask & is_given)
        assert (found.score == given.score) is is_given


def test_a_lower_threshold_lowers_the_bar_for_masks(
    tiny_predictor: Predictor, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_predictor.model.config, "min_confidence", 1.1)
    embedding = tiny_predictor.encode_image(photo)
    (usual,) = tiny_predictor.segment(embedding, ["dog"])
    (asked_for_more,) = tiny_predictor.segment(embedding, ["dog"], threshold=1e-9)
    assert not usual.mask.any()
    assert asked_for_more.mask.any()


def test_the_usual_threshold_cuts_at_the_model_s_own_logit(
    tiny_predictor: Predictor, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = tiny_predictor.encode_image(photo)
    (before,) = tiny_predictor.segment(embedding, ["dog"], threshold=1e-9)
    monkeypatch.setattr(tiny_predictor.model.config, "mask_logit", logit(1e-9))
    (usual,) = tiny_predictor.segment(embedding, ["dog"])
    (higher,) = tiny_predictor.segment(embedding, ["dog"], threshold=1 - 1e-9)
    np.testing.assert_array_equal(usual.mask, before.mask)
    assert usual.score == before.score
    assert higher.mask.sum() < usual.mask.sum()
