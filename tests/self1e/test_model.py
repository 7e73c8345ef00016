from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from self1e.checkpoint import load_model
from self1e.image import tile_image
from self1e.metrics import iou
from self1e.model import ImageFeatures, Self1eModel, join_tiles
from self1e.predictor import Predictor
from self1e.prompt import PromptBatch
from tests.tiny_model import TILE_SIZE, write_tiny_model

PROMPTS = ["dog", "the man on the right", "Which of these is a red car?"]
Masks = list[Tensor]


def image_features(model: Self1eModel, image: Image.Image, max_tiles: int = 1) -> ImageFeatures:
    pixels, grid = tile_image(image, TILE_SIZE, max_tiles)
    return model.project(model.encode_vision(pixels), grid)


def segment(model: Self1eModel, features: ImageFeatures, batch: PromptBatch) -> Tensor:
    output = model.segment([features], batch.input_ids, batch.attention_mask)
    return output.masks[0].final


@pytest.mark.parametrize("grid", [(1, 1), (2, 3)])
def test_folded_replicated_branch_equals_repeating_every_feature(
    grid: tuple[int, int], tiny_model: Self1eModel
) -> None:
    projector = tiny_model.internvl.model.multi_modal_projector
    with torch.no_grad():
        projector.layer_norm.weight.normal_()
        projector.layer_norm.bias.normal_()
        vision = torch.randn(grid[0] * grid[1], 16, tiny_model.config.vision_config.hidden_size)
        naive = projector(torch.cat([vision] * 4, dim=-1))
        expected = tiny_model.mask_head.image_features(
            join_tiles(naive[:, :4], grid), join_tiles(naive, grid)
        )
        found = tiny_model.project(vision, grid)
    torch.testing.assert_close(found.refill.replicated, expected.replicated, atol=1e-4, rtol=1e-4)


def test_tiles_are_laid_out_row_by_row() -> None:
    tiles = torch.arange(6).reshape(6, 1, 1).expand(6, 4, 1)
    joined = join_tiles(torch.cat([tiles, tiles + 6]), (2, 3))
    assert joined.shape == (2, 4, 6, 1)
    assert joined[0, ::2, ::2, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert joined[1, 1::2, 1::2, 0].tolist() == [[6, 7, 8], [9, 10, 11]]


@torch.inference_mode()
def test_prompts_together_equal_prompts_one_by_one(
    tiny_predictor: Predictor, photo: Image.Image
) -> None:
    model, encoder = tiny_predictor.model, tiny_predictor.encoder
    features = image_features(model, photo, max_tiles=6)
    tiles = features.grid[0] * features.grid[1]
    assert features.grid[0] != features.grid[1]
    shared = ImageFeatures(features.grid, features.tokens.expand(3, -1, -1), features.refill)
    together = segment(model, shared, encoder.encode(PROMPTS, tiles))
    for number, prompt in enumerate(PROMPTS):
        fresh = image_features(model, photo, max_tiles=6)
        alone = segment(model, fresh, encoder.encode([prompt], tiles))
        torch.testing.assert_close(together[number], alone[0], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_images_of_several_grids_in_one_pass_equal_separate_passes(
    tiny_predictor: Predictor, photo: Image.Image
) -> None:
    model, encoder = tiny_predictor.model, tiny_predictor.encoder
    turned = photo.transpose(Image.Transpose.ROTATE_90)
    images = [image_features(model, photo, 2), image_features(model, turned, 2)]
    batch = encoder.encode(PROMPTS[:2], tiles=2)
    together = model.segment(images, batch.input_ids, batch.attention_mask).masks
    for number, features in enumerate(images):
        alone = segment(model, features, encoder.encode([PROMPTS[number]], tiles=2))
        torch.testing.assert_close(together[number].final, alone, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_sequence_without_seg_has_no_mask(tiny_predictor: Predictor, photo: Image.Image) -> None:
    model, encoder = tiny_predictor.model, tiny_predictor.encoder
    features = image_features(model, photo)
    batch = encoder.encode(["dog"], tiles=1)
    output = model.segment([features], batch.input_ids[:, :-1], batch.attention_mask[:, :-1])
    assert output.masks[0].final.shape == (0, 8, 8)
    assert output.queries.shape == (0, model.config.width)


def test_threads_share_an_embedding(tiny_predictor: Predictor, photo: Image.Image) -> None:
    embedding = tiny_predictor.encode_image(photo)
    features = embedding.features
    parts = (features.tokens, features.refill.compressed, features.refill.replicated)
    before = [part.clone() for part in parts]
    alone = [tiny_predictor.segment(embedding, [prompt])[0] for prompt in PROMPTS]
    with ThreadPoolExecutor(max_workers=2) as pool:
        rounds = [
            pool.submit(tiny_predictor.segment, embedding, [prompt]) for prompt in PROMPTS * 5
        ]
        found = [future.result()[0] for future in rounds]
    for number, segmentation in enumerate(found):
        expected = alone[number % len(PROMPTS)]
        assert segmentation.score == pytest.approx(expected.score, rel=1e-4)
        assert iou(segmentation.mask, expected.mask) > 0.99
    assert all(torch.equal(part, old) for part, old in zip(parts, before, strict=True))


@pytest.mark.parametrize("language", ["qwen2", "qwen3"])
@torch.inference_mode()
def test_bfloat16_runs_on_the_cpu(
    language: str, tmp_path: Path, tiny_predictor: Predictor, photo: Image.Image
) -> None:
    directory = write_tiny_model(tmp_path, language=language)
    masks: Masks = []
    for dtype in (torch.float32, torch.bfloat16):
        model, _ = load_model(directory, device=torch.device("cpu"), dtype=dtype)
        assert {weight.dtype for weight in model.parameters()} == {dtype}
        rotary = model.internvl.model.language_model.rotary_emb
        assert rotary.inv_freq.dtype == torch.float32  # positions need more than 8 bits
        pixels, grid = tile_image(photo, TILE_SIZE)
        features = model.project(model.encode_vision(pixels.to(dtype)), grid)
        masks.append(segment(model, features, tiny_predictor.encoder.encode(["dog"], 1)).float())
    agreement = ((masks[0] > 0) == (masks[1] > 0)).float().mean()
    assert agreement > 0.9


def test_training_step_needs_pixels_or_features(tiny_model: Self1eModel) -> None:
    nothing = torch.zeros(1, 1, dtype=torch.long)
    with pytest.raises(ValueError, match="pixel_values or vision"):
        tiny_model([(1, 1)], [1], nothing, nothing, nothing, [torch.zeros(1, 8, 8)])


@torch.no_grad()
def test_training_step_is_the_same_from_pixels_and_from_features(
    tiny_model: Self1eModel, tiny_predictor: Predictor, photo: Image.Image
) -> None:
    pixels, grid = tile_image(photo, TILE_SIZE, 2)
    other, _ = tile_image(photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), TILE_SIZE, 2)
    rows = [("Where is it?", "[SEG].", 2), ("the dog", "It is [SEG].", 2), ("tree", "[SEG].", 2)]
    batch = tiny_predictor.encoder.encode_answers(rows)
    arguments = {
        "grids": [grid, grid],
        "prompts_per_image": [1, 2],
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "labels": batch.labels,
        "masks": [torch.eye(40)[None], torch.eye(40).expand(2, -1, -1)],
        "counted": [torch.ones(40, 40), torch.ones(40, 40)],
    }
    tiles = torch.cat([pixels, other])
    from_pixels = tiny_model(**arguments, pixel_values=tiles)
    from_features = tiny_model(**arguments, vision=tiny_model.encode_vision(tiles))
    assert from_pixels.queries.shape == (3, tiny_model.config.width)
    torch.testing.assert_close(tuple(from_pixels), tuple(from_features))
    together = from_pixels.ce + 2 * from_pixels.bce + 0.5 * from_pixels.dice
    torch.testing.assert_close(from_pixels.loss, together)
