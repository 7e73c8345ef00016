"""The mask from hidden states: residual features refilling (RFR) and amplifier (RFA).

Paper sections 3.2 and 3.3. Letters: C width, r = 2 upscale, a = r * r, (h, w) the grid of image
tokens over all tiles, N = number of images or prompts.

The refilled features F' = g(f(F_HQ) + up(F_RFA)) are never built at full size. g's first layer W1
is linear and commutes with the bilinear upsampling, so W1 f(F_HQ) and W1 f(F_V1) are computed once
per image; and g's second layer W2 is folded into the query: F'.s' = h.(W2^T s') + b2.s'.
What is left for each prompt is one GELU and one dot product per mask position.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

UPSCALE = 2


def depth_to_space(features: Tensor) -> Tensor:
    """(N, h, w, a * C) to (N, r * h, r * w, C): each position's a blocks become its r x r cells."""
    n, h, w, channels = features.shape
    c = channels // UPSCALE**2
    cells = features.reshape(n, h, w, UPSCALE, UPSCALE, c)
    return cells.permute(0, 1, 3, 2, 4, 5).reshape(n, UPSCALE * h, UPSCALE * w, c)


def upsample(features: Tensor) -> Tensor:
    """Bilinear (N, h, w, C) to (N, r * h, r * w, C)."""
    channels_first = features.permute(0, 3, 1, 2)
    doubled = functional.interpolate(
        channels_first, scale_factor=UPSCALE, mode="bilinear", align_corners=False
    )
    return doubled.permute(0, 2, 3, 1)


@dataclass(frozen=True)
class RefillFeatures:
    """What of the mask head depends on the image alone.

    Attributes:
        compressed: W1 f(F_V1), (N, r * h, r * w, C).
        replicated: W1 f(F_V1^HQ) + b1, (N, a * h, a * w, C).
    """

    compressed: Tensor
    replicated: Tensor

    def select(self, index: Tensor) -> "RefillFeatures":
        """The features of the images in `index`, int64 (M,)."""
        return RefillFeatures(self.compressed[index], self.replicated[index])


@dataclass(frozen=True)
class MaskLogits:
    """Mask logits: final (..., a * h, a * w) and low-resolution (..., r * h, r * w)."""

    final: Tensor
    low: Tensor


class Mlp(nn.Module):
    """Linear, GELU, Linear."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, out)

    def forward(self, features: Tensor) -> Tensor:
        """(..., width) to (..., out)."""
        hidden: Tensor = self.second(functional.gelu(self.first(features)))
        return hidden


class MaskHead(nn.Module):
    """The three MLPs of RFR and RFA: MLP_llm, MLP_vit and g."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.llm_mlp = Mlp(width, UPSCALE**2 * width)
        self.vit_mlp = Mlp(width, UPSCALE**2 * width)
        self.fuse = Mlp(width, width)

    def image_features(self, compressed: Tensor, replicated: Tensor) -> RefillFeatures:
        """The image's half.

        Args:
            compressed: F_V1, the image tokens before the language model, (N, h, w, C).
            replicated: F_V1^HQ, (N, r * h, r * w, C).
        """
        first = self.fuse.first
        return RefillFeatures(
            compressed=functional.linear(depth_to_space(self.vit_mlp(compressed)), first.weight),
            replicated=first(depth_to_space(self.vit_mlp(replicated))),
        )

    def forward(self, image: RefillFeatures, tokens: Tensor, query: Tensor) -> MaskLogits:
        """The prompt's half.

        Args:
            image: features of each prompt's image, N of them, or one for all.
            tokens: F_IMG, the language model's output at the image tokens, (N, h, w, C).
            query: its output at the position before each of S [SEG] tokens, (N, S, C).
        """
        first, second = self.fuse.first, self.fuse.second
        scale = query.shape[-1] ** -0.5
        spread = self.llm_mlp(query).unflatten(-1, (UPSCALE**2, -1))
        seg = self.fuse(spread.mean(dim=2)) * scale  # s' / sqrt(C)  (N, S, C)

        refined = depth_to_space(self.llm_mlp(tokens))  # f'(F_IMG)
        low = torch.einsum("nhwc,nsc->nshw", refined, seg)
        residual = functional.linear(refined, first.weight) - image.compressed  # W1 F_RFA
        hidden = functional.gelu(image.replicated + upsample(residual))
        folded = seg @ second.weight
        bias = (seg @ second.bias)[..., None, None]
        return MaskLogits(final=torch.einsum("nhwc,nsc->nshw", hidden, folded) + bias, low=low)
