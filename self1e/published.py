"""The published checkpoints' layout: config type `internvl_chat` and its weight names.

Stock transformers InternVL is numerically the same network after renaming; the vision tower's
fused qkv is split in three.
"""

import re
from typing import Any

from torch import Tensor
from transformers import AutoConfig

from self1e.model import Self1eConfig

MODEL_TYPE = "internvl_chat"
_TOWER = r"internvl.model.vision_tower."
_RENAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^vision_model\.embeddings\.class_embedding$", _TOWER + "embeddings.cls_token"),
        (
            r"^vision_model\.embeddings\.patch_embedding\.",
            _TOWER + "embeddings.patch_embeddings.projection.",
        ),
        (
            r"^vision_model\.embeddings\.position_embedding$",
            _TOWER + "embeddings.position_embeddings",
        ),
        (r"^vision_model\.encoder\.layers\.(\d+)\.", _TOWER + r"encoder.layer.\1."),
        (r"(encoder\.layer\.\d+)\.attn\.proj\.", r"\1.attention.projection_layer."),
        (r"(encoder\.layer\.\d+)\.attn\.", r"\1.attention."),
        (r"(encoder\.layer\.\d+)\.ls([12])$", r"\1.lambda_\2"),
        (r"(encoder\.layer\.\d+)\.norm1\.", r"\1.layernorm_before."),
        (r"(encoder\.layer\.\d+)\.norm2\.", r"\1.layernorm_after."),
        (r"^mlp1\.0\.", "internvl.model.multi_modal_projector.layer_norm."),
        (r"^mlp1\.1\.", "internvl.model.multi_modal_projector.linear_1."),
        (r"^mlp1\.3\.", "internvl.model.multi_modal_projector.linear_2."),
        (r"^language_model\.model\.", "internvl.model.language_model."),
        (r"^language_model\.lm_head\.", "internvl.lm_head."),
        (r"^(combine_decode_proj\w*)\.0\.", r"\1.first."),
        (r"^(combine_decode_proj\w*)\.2\.", r"\1.second."),
        (r"^combine_decode_proj_all\.", "mask_head.llm_mlp."),
        (r"^combine_decode_proj_ori\.", "mask_head.vit_mlp."),
        (r"^combine_decode_proj\.", "mask_head.fuse."),
    )
)
# Of a text config: what describes the file, or the machine it was made for, and not the network.
_NOT_ARCHITECTURE = (
    "model_type",
    "architectures",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "attn_implementation",
)
EMBEDDING_NAME = "language_model.model.embed_tokens.weight"
LM_HEAD_NAME = "language_model.lm_head.weight"


def rename(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """A published tensor under our names; a fused qkv gives three tensors."""
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    if ".attention.qkv." in name:
        parts = tensor.chunk(3, dim=0)
        return {
            name.replace(".qkv.", f".{part}_proj."): values
            for part, values in zip("qkv", parts, strict=True)
        }
    return {name: tensor}


def convert_config(
    config: dict[str, Any],
    *,
    vocab_size: int,
    tied: bool,
    seg_token_id: int,
    image_token_id: int,
) -> Self1eConfig:
    """A published `config.json` as ours.

    Args:
        config: the parsed file, of type `internvl_chat`.
        vocab_size: rows of the token embedding in the weights (the file's figure may be stale).
        tied: whether the weights have no output embedding of their own.
        seg_token_id: id of [SEG].
        image_token_id: id of the image tokens.

    Raises:
        KeyError: a field is missing.
        ValueError: a part of the architecture is not what SELF1E was published with, or a token's
            id lies beyond the vocabulary.
    """
    vision, text = config["vision_config"], config["llm_config"]
    checks = {
        "select_layer": (config.get("select_layer", -1), -1),
        "ps_version": (config.get("ps_version", "v2"), "v2"),
        "downsample_ratio": (config.get("downsample_ratio", 0.5), 0.5),
    }
    for field, (value, supported) in checks.items():
        if value != supported:
            raise ValueError(f"config.json has {field} {value!r}; only {supported!r} is supported")
    for token, token_id in (("[SEG]", seg_token_id), ("the image token", image_token_id)):
        if not 0 <= token_id < vocab_size:
            raise ValueError(
                f"{token} has the id {token_id} but the token embedding has {vocab_size} rows"
            )
    tile_size = config.get("force_image_size") or vision["image_size"]
    text_config = AutoConfig.for_model(
        text["model_type"],
        **{
            key: value
            for key, value in text.items()
            if key not in _NOT_ARCHITECTURE and not key.startswith("_")
        }
        | {"vocab_size": vocab_size, "tie_word_embeddings": tied},
    )
    return Self1eConfig(
        vision_config={
            "hidden_size": vision["hidden_size"],
            "num_hidden_layers": vision["num_hidden_layers"],
            "num_attention_heads": vision["num_attention_heads"],
            "intermediate_size": vision["intermediate_size"],
            "hidden_act": vision["hidden_act"],
            "norm_type": vision["norm_type"],
            "layer_norm_eps": vision["layer_norm_eps"],
            "attention_bias": vision["qkv_bias"],
            "use_qk_norm": vision["qk_normalization"],
            "image_size": [tile_size, tile_size],
            "patch_size": [vision["patch_size"], vision["patch_size"]],
            "num_channels": vision.get("num_channels", 3),
            "use_mean_pooling": True,  # InternViT has no norm after its last layer
        },
        text_config=text_config,
        image_token_id=image_token_id,
        seg_token_id=seg_token_id,
        tie_word_embeddings=tied,
    )
