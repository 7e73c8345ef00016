"""SELF1E written once more, naively, from the paper's formulas on published weight names.

It shares no code with `self1e` nor with transformers: one sequence and one head at a time, every
map at its full size, nothing folded, loops where the method has loops. float32 in, float32 out.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

R, A = 2, 4  # upscale and its square


@dataclass(frozen=True)
class NaiveSizes:
    """What weight shapes do not tell."""

    vision_heads: int
    heads: int
    kv_heads: int
    rope_theta: float
    image_token_id: int
    seg_token_id: int
    patch_size: int = 14


class NaiveSelf1e:
    """The network as a function of its weights, by published name."""

    def __init__(self, weights: dict[str, Tensor], sizes: NaiveSizes) -> None:
        self.weights = weights
        self.sizes = sizes

    def masks(
        self, tiles: Tensor, grid: tuple[int, int], input_ids: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One image and one sequence without padding.

        Args:
            tiles: (rows * cols, 3, S, S).
            grid: (rows, cols).
            input_ids: int64 (L,).

        Returns:
            Final logits (number of [SEG], h, w), low-resolution logits, hidden states (L, C).
        """
        vision = [self.vit(tile) for tile in tiles]
        compressed = [self.mlp1(space_to_depth(feature)) for feature in vision]
        replicated = [self.mlp1(torch.cat([feature] * A, dim=-1)) for feature in vision]

        image = input_ids == self.sizes.image_token_id
        embeds = self.weights["language_model.model.embed_tokens.weight"][input_ids]
        embeds[image] = torch.cat([tile.flatten(0, 1) for tile in compressed])
        hidden = self.language_model(embeds, self.blocked(input_ids))

        side = compressed[0].shape[0]
        states = hidden[image].reshape(len(tiles), side, side, -1)
        f_img = self.expand("combine_decode_proj_all", lay_out(list(states), grid))
        f_v1 = self.expand("combine_decode_proj_ori", lay_out(compressed, grid))
        f_hq = self.expand("combine_decode_proj_ori", lay_out(replicated, grid))
        refilled = self.mlp("combine_decode_proj", f_hq + bilinear(f_img - f_v1))
        final, low = [], []
        for position in (input_ids == self.sizes.seg_token_id).nonzero().flatten():
            spread = self.mlp("combine_decode_proj_all", hidden[position - 1])
            query = self.mlp("combine_decode_proj", torch.stack(spread.chunk(A)).mean(dim=0))
            final.append(refilled @ query / math.sqrt(len(query)))
            low.append(f_img @ query / math.sqrt(len(query)))
        if not final:
            return refilled.new_zeros(0, *refilled.shape[:2]), f_img.new_zeros(0, 0, 0), hidden
        return torch.stack(final), torch.stack(low), hidden

    def expand(self, name: str, features: Tensor) -> Tensor:
        """f or f': an MLP to A times the width, then depth to space."""
        return depth_to_space(self.mlp(name, features))

    def blocked(self, input_ids: Tensor) -> Tensor:
        """The dual-pathway mask of one sequence, bool (L, L), True where query may not see key."""
        ids = input_ids.tolist()
        image_id, seg_id = self.sizes.image_token_id, self.sizes.seg_token_id
        blocked = torch.zeros(len(ids), len(ids), dtype=torch.bool)
        for query, asking in enumerate(ids):
            for key, seen in enumerate(ids):
                two_way = seg_id in ids and asking == image_id and seen in (image_id, seg_id)
                blocked[query, key] = key > query and not two_way
        return blocked

    def vit(self, tile: Tensor) -> Tensor:
        """InternViT without its CLS token: (3, S, S) to (n, n, Cv)."""
        w, patch = self.weights, self.sizes.patch_size
        kernel = w["vision_model.embeddings.patch_embedding.weight"]
        bias = w["vision_model.embeddings.patch_embedding.bias"]
        n = tile.shape[-1] // patch
        patches = [
            kernel.flatten(1) @ tile[:, y : y + patch, x : x + patch].flatten() + bias
            for y in range(0, n * patch, patch)
            for x in range(0, n * patch, patch)
        ]
        cls = w["vision_model.embeddings.class_embedding"][0]
        x = torch.cat([cls, torch.stack(patches)])
        x = x + w["vision_model.embeddings.position_embedding"][0]
        layer = 0
        while f"vision_model.encoder.layers.{layer}.ls1" in w:
            name = f"vision_model.encoder.layers.{layer}"
            q, k, v = self.linear(f"{name}.attn.qkv", self.layer_norm(f"{name}.norm1", x)).chunk(
                3, dim=-1
            )
            open_to_all = torch.zeros(len(x), len(x), dtype=torch.bool)
            heads = self.sizes.vision_heads
            attended = self.linear(
                f"{name}.attn.proj",
                attention(split(q, heads), split(k, heads), split(v, heads), open_to_all),
            )
            x = x + w[f"{name}.ls1"] * attended
            hidden = functional.gelu(
                self.linear(f"{name}.mlp.fc1", self.layer_norm(f"{name}.norm2", x))
            )
            x = x + w[f"{name}.ls2"] * self.linear(f"{name}.mlp.fc2", hidden)
            layer += 1
        return x[1:].reshape(n, n, -1)

    def language_model(self, x: Tensor, blocked: Tensor) -> Tensor:
        """Qwen2 (biases on q, k, v) or Qwen3 (norms on q, k): (L, C) to (L, C), final norm."""
        w, sizes, layer = self.weights, self.sizes, 0
        while f"language_model.model.layers.{layer}.input_layernorm.weight" in w:
            name = f"language_model.model.layers.{layer}"
            normed = self.rms_norm(f"{name}.input_layernorm", x)
            q, k, v = (self.linear(f"{name}.self_attn.{part}_proj", normed) for part in "qkv")
            queries, keys = split(q, sizes.heads), split(k, sizes.kv_heads)
            if f"{name}.self_attn.q_norm.weight" in w:
                queries = [self.rms_norm(f"{name}.self_attn.q_norm", head) for head in queries]
                keys = [self.rms_norm(f"{name}.self_attn.k_norm", head) for head in keys]
            group = sizes.heads // sizes.kv_heads
            attended = attention(
                [rotate(head, sizes.rope_theta) for head in queries],
                [rotate(head, sizes.rope_theta) for head in keys for _ in range(group)],
                [head for head in split(v, sizes.kv_heads) for _ in range(group)],
                blocked,
            )
            x = x + self.linear(f"{name}.self_attn.o_proj", attended)
            normed = self.rms_norm(f"{name}.post_attention_layernorm", x)
            gate = functional.silu(self.linear(f"{name}.mlp.gate_proj", normed))
            x = x + self.linear(
                f"{name}.mlp.down_proj", gate * self.linear(f"{name}.mlp.up_proj", normed)
            )
            layer += 1
        return self.rms_norm("language_model.model.norm", x)

    def mlp1(self, features: Tensor) -> Tensor:
        """LayerNorm, Linear, GELU, Linear into the language model's width."""
        normed = self.layer_norm("mlp1.0", features, eps=1e-5)
        return self.linear("mlp1.3", functional.gelu(self.linear("mlp1.1", normed)))

    def mlp(self, name: str, features: Tensor) -> Tensor:
        """Linear, GELU, Linear."""
        return self.linear(f"{name}.2", functional.gelu(self.linear(f"{name}.0", features)))

    def linear(self, name: str, x: Tensor) -> Tensor:
        out = x @ self.weights[f"{name}.weight"].T
        bias = self.weights.get(f"{name}.bias")
        return out if bias is None else out + bias

    def layer_norm(self, name: str, x: Tensor, eps: float = 1e-6) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        normed = centred / (centred.square().mean(dim=-1, keepdim=True) + eps).sqrt()
        return normed * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def rms_norm(self, name: str, x: Tensor, eps: float = 1e-6) -> Tensor:
        return (
            x
            / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()
            * self.weights[f"{name}.weight"]
        )


def split(x: Tensor, heads: int) -> list[Tensor]:
    """(L, heads * D) as `heads` of (L, D)."""
    return list(x.chunk(heads, dim=-1))


def attention(
    queries: list[Tensor], keys: list[Tensor], values: list[Tensor], blocked: Tensor
) -> Tensor:
    """Head by head, (L, D) each, then side by side."""
    outputs = []
    for q, k, v in zip(queries, keys, values, strict=True):
        scores = (q @ k.T / math.sqrt(q.shape[-1])).masked_fill(blocked, -math.inf)
        outputs.append(scores.softmax(dim=-1) @ v)
    return torch.cat(outputs, dim=-1)


def rotate(head: Tensor, theta: float) -> Tensor:
    """Rotary position embedding of (L, D): dimension i turns with dimension i + D / 2."""
    length, size = head.shape
    frequency = theta ** (-torch.arange(0, size, 2) / size)
    angle = torch.arange(length)[:, None] * frequency
    first, second = head[:, : size // 2], head[:, size // 2 :]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def space_to_depth(x: Tensor) -> Tensor:
    """Pixel shuffle, R x R cells into channels: (n, n, C) to (n / R, n / R, A * C)."""
    return torch.cat([x[dy::R, dx::R] for dy in range(R) for dx in range(R)], dim=-1)


def depth_to_space(x: Tensor) -> Tensor:
    """(h, w, A * C) to (R * h, R * w, C)."""
    h, w, channels = x.shape
    out = x.new_zeros(R * h, R * w, channels // A)
    for block, part in enumerate(x.chunk(A, dim=-1)):
        out[block // R :: R, block % R :: R] = part
    return out


def lay_out(tiles: list[Tensor], grid: tuple[int, int]) -> Tensor:
    """Tiles (h, w, C), row by row, as one map (rows * h, cols * w, C)."""
    rows, cols = grid
    return torch.cat(
        [torch.cat(tiles[row * cols : (row + 1) * cols], dim=1) for row in range(rows)], dim=0
    )


def bilinear(x: Tensor) -> Tensor:
    """(h, w, C) to (R * h, R * w, C), corners not aligned."""
    return resize(x.movedim(-1, 0), (R * x.shape[0], R * x.shape[1])).movedim(0, -1)


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear (N, h, w) to (N, *size)."""
    return functional.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
