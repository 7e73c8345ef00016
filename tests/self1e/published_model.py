"""Tiny random checkpoints in the published layout, and reference directories made of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

IMAGE_ID, SEG_ID, PAD_ID, VOCABULARY = 60, 61, 0, 64
TILE, PATCH = 56, 14
VISION_WIDTH, VISION_HEADS, VISION_MLP = 16, 2, 24
WIDTH, HEADS, KV_HEADS, HEAD_DIM, MLP = 32, 4, 2, 12, 40
LAYERS = 2
ROPE_THETA = 5000.0


@dataclass(frozen=True)
class ReferenceCase:
    """Entries of cases.json and cases.safetensors."""

    kind: str
    grids: list[tuple[int, int]]  # (rows, cols)
    tensors: Mapping[str, Tensor]


def published_config(language: str = "qwen3") -> dict[str, Any]:
    """config.json as published checkpoints have it, with the noise that comes with it."""
    head_dim = {"head_dim": HEAD_DIM} if language == "qwen3" else {}
    return {
        "model_type": "internvl_chat",
        "auto_map": {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"},
        "select_layer": -1,
        "ps_version": "v2",
        "downsample_ratio": 0.5,
        "force_image_size": TILE,
        "img_context_token_id": IMAGE_ID,
        "seg_token_id": SEG_ID,
        "vision_config": {
            "model_type": "intern_vit_6b",
            "hidden_size": VISION_WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": VISION_HEADS,
            "intermediate_size": VISION_MLP,
            "hidden_act": "gelu",
            "norm_type": "layer_norm",
            "layer_norm_eps": 1e-6,
            "qkv_bias": True,
            "qk_normalization": False,
            "image_size": TILE,
            "patch_size": PATCH,
            "use_flash_attn": True,
        },
        "llm_config": {
            "model_type": language,
            "_attn_implementation_autoset": True,
            "attn_implementation": "flash_attention_2",
            "architectures": ["Qwen3ForCausalLM"],
            "torch_dtype": "bfloat16",
            "hidden_size": WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS,
            "intermediate_size": MLP,
            "max_position_embeddings": 512,
            "rope_theta": ROPE_THETA,
            "rms_norm_eps": 1e-6,
            "vocab_size": VOCABULARY - 2,  # stale, as after adding tokens
        }
        | head_dim,
    }


def published_weights(language: str = "qwen3", seed: int = 0) -> dict[str, Tensor]:
    """Random weights by published name, of a scale at which every part of the network matters."""
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}

    def add(name: str, *shape: int, around: float = 0.0) -> None:
        deviation = shape[-1] ** -0.5 if len(shape) > 1 else 0.1
        weights[name] = around + deviation * torch.randn(shape, generator=generator)

    def linear(name: str, inputs: int, outputs: int, *, bias: bool = True) -> None:
        add(f"{name}.weight", outputs, inputs)
        if bias:
            add(f"{name}.bias", outputs)

    def layer_norm(name: str, width: int) -> None:
        add(f"{name}.weight", width, around=1.0)
        add(f"{name}.bias", width)

    vision = "vision_model.embeddings"
    add(f"{vision}.class_embedding", 1, 1, VISION_WIDTH)
    add(f"{vision}.patch_embedding.weight", VISION_WIDTH, 3, PATCH, PATCH)
    add(f"{vision}.patch_embedding.bias", VISION_WIDTH)
    add(f"{vision}.position_embedding", 1, 1 + (TILE // PATCH) ** 2, VISION_WIDTH)
    for layer in range(LAYERS):
        name = f"vision_model.encoder.layers.{layer}"
        layer_norm(f"{name}.norm1", VISION_WIDTH)
        layer_norm(f"{name}.norm2", VISION_WIDTH)
        linear(f"{name}.attn.qkv", VISION_WIDTH, 3 * VISION_WIDTH)
        linear(f"{name}.attn.proj", VISION_WIDTH, VISION_WIDTH)
        linear(f"{name}.mlp.fc1", VISION_WIDTH, VISION_MLP)
        linear(f"{name}.mlp.fc2", VISION_MLP, VISION_WIDTH)
        add(f"{name}.ls1", VISION_WIDTH, around=1.0)
        add(f"{name}.ls2", VISION_WIDTH, around=1.0)

    head_dim = HEAD_DIM if language == "qwen3" else WIDTH // HEADS
    add("language_model.model.embed_tokens.weight", VOCABULARY, WIDTH)
    for layer in range(LAYERS):
        name = f"language_model.model.layers.{layer}"
        add(f"{name}.input_layernorm.weight", WIDTH, around=1.0)
        add(f"{name}.post_attention_layernorm.weight", WIDTH, around=1.0)
        for part, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            linear(
                f"{name}.self_attn.{part}_proj", WIDTH, heads * head_dim, bias=language == "qwen2"
            )
        linear(f"{name}.self_attn.o_proj", HEADS * head_dim, WIDTH, bias=False)
        if language == "qwen3":
            add(f"{name}.self_attn.q_norm.weight", head_dim, around=1.0)
            add(f"{name}.self_attn.k_norm.weight", head_dim, around=1.0)
        linear(f"{name}.mlp.gate_proj", WIDTH, MLP, bias=False)
        linear(f"{name}.mlp.up_proj", WIDTH, MLP, bias=False)
        linear(f"{name}.mlp.down_proj", MLP, WIDTH, bias=False)
    add("language_model.model.norm.weight", WIDTH, around=1.0)
    linear("language_model.lm_head", WIDTH, VOCABULARY, bias=False)

    layer_norm("mlp1.0", 4 * VISION_WIDTH)
    linear("mlp1.1", 4 * VISION_WIDTH, WIDTH)
    linear("mlp1.3", WIDTH, WIDTH)
    for name, outputs in (("_all", 4 * WIDTH), ("_ori", 4 * WIDTH), ("", WIDTH)):
        linear(f"combine_decode_proj{name}.0", WIDTH, WIDTH)
        linear(f"combine_decode_proj{name}.2", WIDTH, outputs)
    return weights


def write_published(
    directory: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> Path:
    """Writes config.json and model.safetensors; returns the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file(dict(weights), directory / "model.safetensors")
    return directory


def write_cases(directory: Path, cases: Mapping[str, ReferenceCase]) -> None:
    """Writes cases.json and cases.safetensors next to the weights."""
    entries = {
        name: {"kind": case.kind, "grid_cols_rows": [[cols, rows] for rows, cols in case.grids]}
        for name, case in cases.items()
    }
    (directory / "cases.json").write_text(json.dumps(entries))
    tensors = {
        f"{name}.{key}": tensor.contiguous()
        for name, case in cases.items()
        for key, tensor in case.tensors.items()
    }
    save_file(tensors, directory / "cases.safetensors")
