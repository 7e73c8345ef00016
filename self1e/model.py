"""SELF1E on stock transformers InternVL: one forward pass gives the mask (paper section 3).

Letters: N images, B prompts, T tiles per image, a = 4, N0 = (tile / patch)^2 vision tokens per
tile, N1 = N0 / a image tokens per tile, Cv vision width, C language model width, L tokens.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor
from torch.nn import functional
from transformers import InternVLConfig, InternVLForConditionalGeneration, PreTrainedModel

from self1e.attention import additive_mask, blocked_attention
from self1e.losses import answer_loss, answer_positions, mask_losses, weighted_total
from self1e.mask_head import UPSCALE, MaskHead, MaskLogits, RefillFeatures


@strict
class Self1eConfig(InternVLConfig):
    """InternVL's configuration, the id of the [SEG] token and how logits become masks.

    `mask_logit` is the logit above which a pixel belongs to a mask at the usual threshold, and
    `min_confidence` the confidence below which a mask is not given (see `Predictor.segment`).
    The published models cut at 0 and give all masks.
    """

    model_type = "self1e"
    seg_token_id: int = 0
    mask_logit: float = 0.0
    min_confidence: float = 0.0

    @property
    def tile_size(self) -> int:
        """Side of a tile in pixels."""
        vision: Any = self.vision_config
        return int(vision.image_size[0])

    @property
    def tile_tokens(self) -> int:
        """N1, image tokens of one tile."""
        vision: Any = self.vision_config
        return int((self.tile_size // vision.patch_size[0] // UPSCALE) ** 2)

    @property
    def width(self) -> int:
        """C, the language model's width."""
        text: Any = self.text_config
        return int(text.hidden_size)


@dataclass(frozen=True)
class ImageFeatures:
    """All that does not depend on the prompt, of N images with the same tile grid.

    Attributes:
        grid: (rows, cols) of tiles.
        tokens: F_V1, the language model's image tokens, tile by tile, (N, T * N1, C).
        refill: the mask head's image half.
    """

    grid: tuple[int, int]
    tokens: Tensor
    refill: RefillFeatures

    def select(self, index: Tensor) -> "ImageFeatures":
        """The features of the images in `index`, int64 (M,), repeats allowed."""
        return ImageFeatures(self.grid, self.tokens[index], self.refill.select(index))


@dataclass(frozen=True)
class SegmentOutput:
    """One forward pass over B prompts.

    Attributes:
        hidden: the language model's last hidden states, (B, L, C).
        queries: hidden states before each [SEG], in reading order, (number of [SEG], C).
        masks: logits for each entry of the `images` argument, one per [SEG] in reading order.
    """

    hidden: Tensor
    queries: Tensor
    masks: list[MaskLogits]


class TrainOutput(NamedTuple):
    """The loss, what it is made of, and the [SEG] queries (number of [SEG], C)."""

    loss: Tensor
    ce: Tensor
    bce: Tensor
    dice: Tensor
    queries: Tensor


class Self1eModel(PreTrainedModel):
    """InternVL and the mask head.

    The parts run one after the other, so that what is shared is computed once: `encode_vision`
    (pixels), `project` (once per image), `segment` (per prompt).
    """

    config_class = Self1eConfig
    base_model_prefix = "self1e"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: Self1eConfig) -> None:
        super().__init__(config)
        self.internvl = InternVLForConditionalGeneration(config)
        self.mask_head = MaskHead(config.width)
        self._tied_weights_keys = {
            "internvl.lm_head.weight": "internvl.model.language_model.embed_tokens.weight"
        }
        self.post_init()

    def get_input_embeddings(self) -> torch.nn.Module:
        """The token embedding."""
        module: torch.nn.Module = self.internvl.get_input_embeddings()
        return module

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any
    ) -> None:
        """Saves under this model's own names, which is also what a resumed training reads.

        By default transformers gives the weights of an InternVL the names of its older versions.
        """
        super().save_pretrained(save_directory, *args, **{"save_original_format": False} | kwargs)

    def encode_vision(self, pixel_values: Tensor) -> Tensor:
        """Vision tower, last layer, CLS dropped: (T, 3, S, S) to F_V0 (T, N0, Cv)."""
        tower = self.internvl.model.vision_tower
        features: Tensor = tower(pixel_values=pixel_values).last_hidden_state
        return features[:, 1:]

    def project(self, vision: Tensor, grid: tuple[int, int]) -> ImageFeatures:
        """Compressed and self-replicated branches and the mask head's image half.

        Args:
            vision: F_V0 of N images that share a tile grid, (N * T, N0, Cv).
            grid: (rows, cols) with T = rows * cols.
        """
        compressed = self._compress(vision)  # (N * T, N1, C)
        replicated = self._replicate(vision)  # (N * T, N0, C)
        tiles = grid[0] * grid[1]
        return ImageFeatures(
            grid=grid,
            tokens=compressed.reshape(-1, tiles * compressed.shape[1], compressed.shape[2]),
            refill=self.mask_head.image_features(
                join_tiles(compressed, grid), join_tiles(replicated, grid)
            ),
        )

    def segment(
        self,
        images: Sequence[ImageFeatures],
        input_ids: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor | None = None,
    ) -> SegmentOutput:
        """Language model and mask head.

        Args:
            images: features of the B prompts' images in order, each entry a run of prompts whose
                images share a tile grid; their N add up to B.
            input_ids: int64 (B, L), with T * N1 image tokens in each row.
            attention_mask: (B, L), 0 marks padding.
            position_ids: int64 (B, L); counted over what is not padding if not given.
        """
        image = input_ids == self.config.image_token_id
        embeds = self.get_input_embeddings()(input_ids)
        tokens = torch.cat([features.tokens.flatten(0, 1) for features in images])
        embeds = embeds.masked_scatter(image[..., None], tokens.to(embeds.dtype))
        if position_ids is None:
            position_ids = (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
        blocked = blocked_attention(
            input_ids, attention_mask, self.config.image_token_id, self.config.seg_token_id
        )
        hidden: Tensor = self.internvl.model.language_model(
            inputs_embeds=embeds,
            attention_mask=additive_mask(blocked, embeds.dtype),
            position_ids=position_ids,
            use_cache=False,
        ).last_hidden_state

        row, position = (input_ids == self.config.seg_token_id).nonzero(as_tuple=True)
        queries = hidden[row, position - 1]
        masks, start = [], 0
        for features in images:
            stop = start + len(features.tokens)
            tokens = hidden[start:stop][image[start:stop]].reshape(features.tokens.shape)
            own = (row >= start) & (row < stop)
            masks.append(self._masks(features, tokens, queries[own], row[own] - start))
            start = stop
        return SegmentOutput(hidden=hidden, queries=queries, masks=masks)

    def forward(
        self,
        grids: Sequence[tuple[int, int]],
        prompts_per_image: Sequence[int],
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        masks: Sequence[Tensor],
        counted: Sequence[Tensor] | None = None,
        pixel_values: Tensor | None = None,
        vision: Tensor | None = None,
        position_ids: Tensor | None = None,
        soft: Sequence[Tensor] | None = None,
    ) -> TrainOutput:
        """One training step's loss on B prompts over N images.

        Args:
            grids: (rows, cols) of each image's tiles.
            prompts_per_image: how many of the prompts are about each image, in order.
            input_ids: int64 (B, L), with as many [SEG] in all about an image as it has masks.
            attention_mask: (B, L), 0 marks padding.
            labels: int64 (B, L), the answer's tokens, -100 elsewhere.
            masks: for each image float (P, h, w) in 0..1 (`self1e.losses.reduce_target`).
            counted: for each image float (h, w), 0 where a pixel does not count; None: all do.
            pixel_values: the images' tiles in order, float (sum of T, 3, S, S).
            vision: the tiles' F_V0 instead, if it was computed before, (sum of T, N0, Cv).
            position_ids: as in `segment`.
            soft: for each image bool (P,), True where a mask is another model's probabilities.
        """
        if vision is None:
            if pixel_values is None:
                raise ValueError("Either pixel_values or vision must be given")
            vision = self.encode_vision(pixel_values)
        runs = _equal_runs([(grid, m.shape[1:]) for grid, m in zip(grids, masks, strict=True)])
        images, targets, weights, tile = [], [], [], 0
        for run in runs:
            grid, prompts = grids[run.start], torch.tensor(prompts_per_image[run])
            stop = tile + len(prompts) * grid[0] * grid[1]
            row_image = torch.arange(len(prompts)).repeat_interleave(prompts)
            images.append(self.project(vision[tile:stop], grid).select(row_image.to(vision.device)))
            tile = stop
            targets.append(torch.cat(list(masks[run])))
            weights.append(
                None
                if counted is None
                else torch.cat(
                    [c.expand_as(m) for c, m in zip(counted[run], masks[run], strict=True)]
                )
            )
        output = self.segment(images, input_ids, attention_mask, position_ids)
        predicts, tokens = answer_positions(labels)
        ce = answer_loss(self.token_logits(output.hidden[predicts]), tokens)
        marks = None if soft is None else [torch.cat(list(soft[run])) for run in runs]
        mask = mask_losses(output.masks, targets, weights, marks)
        return TrainOutput(
            loss=weighted_total(ce, mask),
            ce=ce,
            bce=mask.bce,
            dice=mask.dice,
            queries=output.queries,
        )

    def token_logits(self, hidden: Tensor) -> Tensor:
        """Vocabulary logits of hidden states, (..., C) to (..., V)."""
        logits: Tensor = self.internvl.lm_head(hidden)
        return logits

    def _masks(
        self, features: ImageFeatures, tokens: Tensor, queries: Tensor, row: Tensor
    ) -> MaskLogits:
        """Mask logits of queries (M, C), each about the image of its row, int64 (M,), sorted."""
        tiles = features.grid[0] * features.grid[1]
        joined = join_tiles(
            tokens.reshape(-1, tokens.shape[1] // tiles, tokens.shape[2]), features.grid
        )
        counts = row.bincount(minlength=len(tokens))
        present = torch.arange(int(counts.max()), device=row.device) < counts[:, None]
        padded = queries.new_zeros(*present.shape, queries.shape[-1])
        padded[present] = queries
        logits: MaskLogits = self.mask_head(features.refill, joined, padded)
        return MaskLogits(final=logits.final[present], low=logits.low[present])

    def _compress(self, vision: Tensor) -> Tensor:
        side = int(vision.shape[1] ** 0.5)
        grid = vision.reshape(len(vision), side, side, -1)
        shuffled = self.internvl.model.pixel_shuffle(grid, scale_factor=1 / UPSCALE)
        projected: Tensor = self.internvl.model.multi_modal_projector(shuffled.flatten(1, 2))
        return projected

    def _replicate(self, vision: Tensor) -> Tensor:
        """MLP1 of every vision feature repeated a times along channels, without repeating it.

        Mean and variance of the repeated feature are the feature's own, so the LayerNorm's gain
        and bias and the a blocks of the first layer's weight fold into a weight of Cv columns.
        """
        projector = self.internvl.model.multi_modal_projector
        norm, linear = projector.layer_norm, projector.linear_1
        width = vision.shape[-1]
        weight = (linear.weight * norm.weight).reshape(len(linear.weight), -1, width).sum(dim=1)
        bias = linear.bias + linear.weight @ norm.bias
        normed = functional.layer_norm(vision, (width,), eps=norm.eps)
        projected: Tensor = projector.linear_2(
            projector.act(functional.linear(normed, weight, bias))
        )
        return projected


def _equal_runs(keys: Sequence[object]) -> list[slice]:
    """Slices of consecutive equal keys."""
    starts = [i for i in range(len(keys)) if i == 0 or keys[i] != keys[i - 1]]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(keys)], strict=True)]


def join_tiles(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """Lays tiles out as one map: (N * T, h * w, C) to (N, rows * h, cols * w, C), h = w."""
    rows, cols = grid
    side = int(features.shape[1] ** 0.5)
    channels = features.shape[2]
    tiles = features.reshape(-1, rows, cols, side, side, channels)
    return tiles.transpose(2, 3).reshape(-1, rows * side, cols * side, channels)
