"""Masks from prompts: encode an image once, segment it for any number of prompts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from self1e.image import tile_image
from self1e.model import ImageFeatures, Self1eModel
from self1e.prompt import PromptEncoder

_USUAL_THRESHOLD = 0.5


@dataclass(frozen=True)
class ImageEmbedding:
    """What encoding an image gives: a value, safe to share between threads and to cache.

    Attributes:
        image_size: (height, width) of the image in pixels.
        features: the model's prompt-independent half, of one image.
    """

    image_size: tuple[int, int]
    features: ImageFeatures

    @property
    def nbytes(self) -> int:
        """Memory it holds, in bytes."""
        refill = self.features.refill
        return sum(t.nbytes for t in (self.features.tokens, refill.compressed, refill.replicated))


@dataclass(frozen=True)
class Segmentation:
    """The answer to one prompt.

    Attributes:
        prompt: as it was asked.
        mask: bool (H, W) at the image's own size; all False when nothing is there.
        score: 0..1, the IoU that the model itself expects of this mask (see `expected_iou`).
    """

    prompt: str
    mask: NDArray[np.bool_]
    score: float


class Predictor:
    """A loaded model with its prompt encoder. Holds no state between calls.

    Args:
        model: in evaluation mode.
        encoder: made with the model's tokenizer.
        max_tiles: most tiles an image is cut into; the published models use 1.
        batch_size: most prompts in one forward pass.
    """

    def __init__(
        self, model: Self1eModel, encoder: PromptEncoder, *, max_tiles: int = 1, batch_size: int = 8
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.max_tiles = max_tiles
        self.batch_size = batch_size

    def encode_image(self, image: Image.Image) -> ImageEmbedding:
        """The heavy half, once per image.

        Args:
            image: upright RGB of any size (`self1e.image.load_image`).
        """
        (embedding,) = self.encode_images([image])
        return embedding

    @torch.inference_mode()
    def encode_images(self, images: Iterable[Image.Image]) -> list[ImageEmbedding]:
        """The heavy half for several images, in one pass of the vision tower.

        Args:
            images: as for `encode_image`; of an iterator, one at a time is in memory.

        Returns:
            One embedding per image, in their order.
        """
        sizes, grids, tiles = [], [], []
        for image in images:
            pixel_values, grid = tile_image(image, self.model.config.tile_size, self.max_tiles)
            sizes.append((image.height, image.width))
            grids.append(grid)
            tiles.append(pixel_values)
        if not tiles:
            return []
        vision = self.model.encode_vision(
            torch.cat(tiles).to(self.model.device, self.model.dtype)
        ).split([len(each) for each in tiles])
        # One by one: grids differ, and an embedding must not keep its neighbours' memory alive.
        return [
            ImageEmbedding(size, self.model.project(own, grid))
            for size, grid, own in zip(sizes, grids, vision, strict=True)
        ]

    @torch.inference_mode()
    def segment(
        self,
        embedding: ImageEmbedding,
        prompts: Sequence[str],
        *,
        threshold: float = _USUAL_THRESHOLD,
    ) -> list[Segmentation]:
        """The light half: one mask per prompt, in the prompts' order.

        A mask is not given if the model's `confidence` that something fits the prompt is below its
        config's `min_confidence`: the answer is empty then. A lower threshold asks for more, so it
        lowers this bar with it.

        Args:
            embedding: of the image to segment.
            prompts: one per mask.
            threshold: probability, 0..1, above which a pixel belongs to the mask. A model whose
                config's `mask_logit` is not 0 has all its logits shifted by it first, so that 0.5
                is the usual threshold of every model.

        Raises:
            PromptError: a prompt is empty or too long.
        """
        cut = self._cut(threshold)
        results: list[Segmentation] = []
        for start in range(0, len(prompts), self.batch_size):
            chunk = prompts[start : start + self.batch_size]
            for prompt, logits in zip(chunk, self._logits(embedding, chunk), strict=True):
                if self._is_given(logits, threshold):
                    mask = (_resize(logits, embedding.image_size) > cut).cpu().numpy()
                    score = expected_iou(logits, cut)
                else:
                    mask = np.zeros(embedding.image_size, dtype=np.bool_)
                    score = _nothing_there(logits)
                results.append(Segmentation(prompt, mask, score))
        return results

    @torch.inference_mode()
    def grid_answers(
        self, embedding: ImageEmbedding, prompts: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """The answers on the model's own grid, and what they were made from.

        Args:
            embedding: of the image.
            prompts: P of them.

        Returns:
            probabilities float32 (P, a * h, a * w), 0..1, and masks bool of the same shape: those
            that `segment` gives, before they get the image's size.

        Raises:
            PromptError: a prompt is empty or too long.
        """
        cut = self._cut(_USUAL_THRESHOLD)
        chunks = [
            self._logits(embedding, prompts[start : start + self.batch_size])
            for start in range(0, len(prompts), self.batch_size)
        ]
        logits = torch.cat(chunks).cpu()
        given = torch.tensor([self._is_given(each, _USUAL_THRESHOLD) for each in logits])
        return logits.sigmoid(), (logits > cut) & given[:, None, None]

    def _cut(self, threshold: float) -> float:
        """The logit above which a pixel belongs to the mask."""
        logit = float(torch.tensor(threshold, dtype=torch.float64).logit())
        return logit + float(self.model.config.mask_logit)

    def _is_given(self, logits: Tensor, threshold: float) -> bool:
        least = float(self.model.config.min_confidence) * threshold / _USUAL_THRESHOLD
        return confidence(logits, self._cut(threshold)) >= least

    def _logits(self, embedding: ImageEmbedding, prompts: Sequence[str]) -> Tensor:
        features = embedding.features
        batch = self.encoder.encode(prompts, tiles=features.grid[0] * features.grid[1])
        repeated = ImageFeatures(
            features.grid, features.tokens.expand(len(prompts), -1, -1), features.refill
        )
        output = self.model.segment(
            [repeated],
            batch.input_ids.to(self.model.device),
            batch.attention_mask.to(self.model.device),
        )
        return output.masks[0].final.float()


def expected_iou(logits: Tensor, cut: float = 0.0) -> float:
    """How good the model expects the thresholded mask to be, 0..1.

    The sigmoid of a logit is read as the probability that the pixel belongs to the object. Then
    the expected intersection of the mask with the object is the sum of p inside the mask, and the
    expected union the mask's area plus the sum of p outside. For an empty mask it is the
    probability that no pixel belongs, taken at the likeliest pixel.

    Args:
        logits: float (h, w).
        cut: the logit above which a pixel belongs to the mask.
    """
    probability = logits.sigmoid()
    inside = logits > cut
    if not inside.any():
        return _nothing_there(logits)
    return expected_overlap(inside, probability)


def expected_overlap(mask: Tensor, probability: Tensor) -> float:
    """The IoU to expect of a mask, bool (h, w), not empty, if places belong with a probability."""
    union = mask.sum() + probability[~mask].sum()
    return float(probability[mask].sum() / union)


def confidence(logits: Tensor, cut: float = 0.0) -> float:
    """How sure the model is that what its mask shows is there, 0..1.

    The lesser of the mask's expected IoU and the mean probability of the likeliest hundredth of all
    places: a mask must be plausible as a whole, and some of it must be seen clearly.

    Args:
        logits: float (h, w).
        cut: the logit above which a pixel belongs to the mask.
    """
    return min(expected_iou(logits, cut), presence(logits.sigmoid()))


def presence(probability: Tensor) -> float:
    """How clearly the model sees anything that fits, 0..1: the mean of the likeliest hundredth.

    Args:
        probability: float (h, w), 0..1, of each place.
    """
    return float(probability.flatten().topk(max(1, probability.numel() // 100)).values.mean())


def _nothing_there(logits: Tensor) -> float:
    """The probability that no pixel belongs, taken at the likeliest pixel."""
    return float(1 - logits.max().sigmoid())


def _resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    resized = functional.interpolate(
        logits[None, None], size=size, mode="bilinear", align_corners=False
    )
    return resized[0, 0]
