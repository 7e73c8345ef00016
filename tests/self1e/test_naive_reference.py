"""The model against a naive second writing of the method, where the given cases do not reach.

Several [SEG] in one sequence, tile grids with rows != cols mixed in one batch padded on either
side, a sequence without [SEG], Qwen3.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from self1e.parity import run_parity
from tests.self1e import naive_losses
from tests.self1e.naive_reference import NaiveSelf1e, NaiveSizes
from tests.self1e.published_model import (
    HEADS,
    IMAGE_ID,
    KV_HEADS,
    PAD_ID,
    ROPE_THETA,
    SEG_ID,
    TILE,
    VISION_HEADS,
    ReferenceCase,
    published_config,
    published_weights,
    write_cases,
    write_published,
)

GIVEN = Path(__file__).parent / "parity" / "model_qwen2"
TILE_TOKENS = 4
SIZES = NaiveSizes(VISION_HEADS, HEADS, KV_HEADS, ROPE_THETA, IMAGE_ID, SEG_ID)

# (rows, cols) and number of [SEG] of each sequence
BATCH = [((1, 1), 2), ((2, 3), 1), ((1, 1), 0), ((3, 1), 3)]


def sequence(grid: tuple[int, int], segments: int, rng: torch.Generator) -> Tensor:
    """Some words, the image tokens, some words, and an answer with the [SEG] tokens."""

    def words(count: int) -> Tensor:
        return torch.randint(1, IMAGE_ID, (count,), generator=rng)

    image = torch.full((grid[0] * grid[1] * TILE_TOKENS,), IMAGE_ID)
    answer = [part for _ in range(segments) for part in (words(2), torch.tensor([SEG_ID]))]
    return torch.cat([words(3), image, words(4 + segments), *answer, words(1)])


def pad(rows: Sequence[Tensor], side: str, value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(
        list(rows), batch_first=True, padding_value=value, padding_side=side
    )


def padded_block(own: Sequence[Tensor], side: str, length: int) -> Tensor:
    """Blocked masks (l, l) of the sequences inside (B, 1, L, L) where padding is never seen."""
    blocked = torch.ones(len(own), 1, length, length, dtype=torch.bool)
    for row, mask in enumerate(own):
        start = 0 if side == "right" else length - len(mask)
        stop = start + len(mask)
        blocked[row, 0, start:stop, start:stop] = mask
        if side == "right":  # queries that are padding themselves: causal, and see themselves
            for query in range(stop, length):
                blocked[row, 0, query, :stop] = False
        blocked[row, 0].fill_diagonal_(False)
    return blocked


def inference_case(model: NaiveSelf1e, side: str) -> ReferenceCase:
    rng = torch.Generator().manual_seed(1)
    ids = [sequence(grid, segments, rng) for grid, segments in BATCH]
    tiles = [torch.randn(r * c, 3, TILE, TILE, generator=rng) for (r, c), _ in BATCH]
    found = [model.masks(t, grid, i)[0] for t, (grid, _), i in zip(tiles, BATCH, ids, strict=True)]
    input_ids = pad(ids, side, PAD_ID)
    own = [model.blocked(row) for row in ids]
    tensors = {
        "input_ids": input_ids,
        "attention_mask": pad([torch.ones_like(row) for row in ids], side, 0),
        "pixel_values": torch.cat(tiles),
        "attention_blocked_4d": padded_block(own, side, input_ids.shape[1]).to(torch.uint8),
    }
    logits = {f"mask_logits.{row}": masks for row, masks in enumerate(found)}
    return ReferenceCase("inference", [grid for grid, _ in BATCH], tensors | logits)


def train_case(model: NaiveSelf1e) -> ReferenceCase:
    """Three images; the first is asked for two masks in one answer."""
    rng = torch.Generator().manual_seed(2)
    batch = [((1, 1), 2), ((2, 1), 1), ((1, 1), 1)]
    sizes = [(40, 60), (300, 200), (40, 60)]
    ids = [sequence(grid, segments, rng) for grid, segments in batch]
    labels = [torch.where(torch.arange(len(row)) > len(row) - 4, row, -100) for row in ids]
    tiles = [torch.randn(r * c, 3, TILE, TILE, generator=rng) for (r, c), _ in batch]
    truth = [
        (torch.rand(segments, *size, generator=rng) > 0.6).float()
        for (_, segments), size in zip(batch, sizes, strict=True)
    ]
    final, low, hidden = zip(
        *(model.masks(t, grid, row) for t, (grid, _), row in zip(tiles, batch, ids, strict=True)),
        strict=True,
    )
    small = [mask for masks in truth for mask in naive_losses.shrink(masks)]
    parts = [
        naive_losses.mask_loss([mask for masks in scale for mask in masks], small)
        for scale in (final, low)
    ]
    bce, dice = (sum(figures) for figures in zip(*parts, strict=True))
    ce = naive_losses.answer_loss(
        list(hidden), model.weights["language_model.lm_head.weight"], labels
    )
    figures = {
        "ce_loss": ce,
        "mask_bce_loss": bce,
        "mask_dice_loss": dice,
        "loss": ce + 2 * bce + 0.5 * dice,
    }
    tensors = {
        "input_ids": pad(ids, "right", PAD_ID),
        "attention_mask": pad([torch.ones_like(row) for row in ids], "right", 0),
        "labels": pad(labels, "right", -100),
        "pixel_values": torch.cat(tiles),
    }
    masks = {f"gt_masks.{row}": mask for row, mask in enumerate(truth)}
    losses = {key: torch.tensor([value]) for key, value in figures.items()}
    return ReferenceCase("train", [grid for grid, _ in batch], tensors | masks | losses)


@pytest.mark.parametrize("language", ["qwen2", "qwen3"])
def test_model_equals_the_naive_one(language: str, tmp_path: Path) -> None:
    weights = published_weights(language)
    naive = NaiveSelf1e(weights, SIZES)
    directory = write_published(tmp_path, published_config(language), weights)
    cases = {
        "padded_right": inference_case(naive, "right"),
        "padded_left": inference_case(naive, "left"),
        "train": train_case(naive),
    }
    write_cases(directory, cases)

    results = list(run_parity(directory))

    assert [result.name for result in results] == list(cases)
    assert all(result.passed for result in results), results


def test_naive_model_equals_the_given_outputs() -> None:
    cases = json.loads((GIVEN / "cases.json").read_text())
    tensors = load_file(GIVEN / "cases.safetensors")
    config = json.loads((GIVEN / "config.json").read_text())
    sizes = NaiveSizes(4, 4, 2, 1e6, config["img_context_token_id"], config["seg_token_id"])
    model = NaiveSelf1e(load_file(GIVEN / "model.safetensors"), sizes)
    for name in ("single_tile_padded_batch", "two_tiles_wide", "grid_2x2"):
        grids = [(rows, cols) for cols, rows in cases[name]["grid_cols_rows"]]
        tiles = tensors[f"{name}.pixel_values"].split([rows * cols for rows, cols in grids])
        for row, grid in enumerate(grids):
            valid = tensors[f"{name}.attention_mask"][row].bool()
            ids = tensors[f"{name}.input_ids"][row][valid]
            found, _, _ = model.masks(tiles[row], grid, ids)
            wanted = tensors[f"{name}.mask_logits.{row}"]
            torch.testing.assert_close(found, wanted, atol=5e-5, rtol=0)
