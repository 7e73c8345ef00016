"""A tiny random model in our own layout: real code from end to end, in milliseconds.

What it segments is arbitrary, but every prompt about every photo gets a mask that is neither empty
nor full.
"""

from pathlib import Path

import torch

from self1e.checkpoint import save_model
from self1e.model import Self1eConfig, Self1eModel
from self1e.prompt import PromptEncoder
from self1e.recipe.network import build_tokenizer

TILE_SIZE, PATCH_SIZE = 56, 14
VISION_WIDTH, WIDTH, LAYERS, HEADS = 32, 64, 2, 4
SEED = 7
PHRASES = ("dog", "the left dog", "a red car", "person", "tree", "the man on the right")


def write_tiny_model(directory: Path, *, language: str = "qwen2") -> Path:
    """Writes config.json, model.safetensors and a tokenizer; the same bytes every time.

    Args:
        directory: is made if it is missing.
        language: "qwen2" or "qwen3".

    Returns:
        The directory.
    """
    tokenizer = build_tokenizer(PHRASES)
    encoder = PromptEncoder(tokenizer, tile_tokens=0)
    config = Self1eConfig(
        vision_config={
            "hidden_size": VISION_WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "intermediate_size": 2 * VISION_WIDTH,
            "image_size": [TILE_SIZE, TILE_SIZE],
            "patch_size": [PATCH_SIZE, PATCH_SIZE],
            "attention_bias": True,
        },
        text_config={
            "model_type": language,
            "hidden_size": WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS // 2,
            "head_dim": WIDTH // HEADS,
            "intermediate_size": 2 * WIDTH,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
        },
        tie_word_embeddings=True,
        image_token_id=encoder.image_token_id,
        seg_token_id=encoder.seg_token_id,
    )
    model = Self1eModel(config)
    _randomise(model)
    directory.mkdir(parents=True, exist_ok=True)
    save_model(model, tokenizer, directory)
    return directory


def _randomise(model: Self1eModel) -> None:
    """Weights of a scale at which position, image and prompt all matter, from a fixed seed."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                fan_in = 1 if "embed" in name else parameter.shape[1]
                parameter.normal_(std=2 * fan_in**-0.5, generator=generator)
        for mlp in model.mask_head.children():
            # Without the mean that all features share, about half of the logits are above 0.
            weight = mlp.get_submodule("second").get_parameter("weight")
            weight.sub_(weight.mean(dim=1, keepdim=True))
