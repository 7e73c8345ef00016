"""What a prompt costs once its image is encoded: `python -m` this module.

Prints times and ratios as JSON, of networks with random weights. With `--check` it exits with 1
if a ratio misses its aim.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from self1e.model import Self1eConfig, Self1eModel
from self1e.predictor import Predictor, Segmentation
from self1e.prompt import PromptEncoder
from self1e.recipe.network import (
    HEADS,
    LAYERS,
    PATCH_SIZE,
    TILE_SIZE,
    VISION_HEADS,
    VISION_LAYERS,
    VISION_WIDTH,
    VOCABULARY,
    WIDTH,
    build_tokenizer,
)

AIMS = {"second_prompt": 1 / 3, "eight_prompts": 1 / 2}
ROUNDS = {"demo": 3, "1b": 1}  # the best counts
PROMPTS = (
    "the left dog",
    "a red car",
    "person",
    "the man on the right",
    "tree",
    "the second horse from the left",
    "sky",
    "the cup on the table",
)
VISION: dict[str, dict[str, Any]] = {
    "demo": {
        "hidden_size": VISION_WIDTH,
        "num_hidden_layers": VISION_LAYERS,
        "num_attention_heads": VISION_HEADS,
        "intermediate_size": 4 * VISION_WIDTH,
    },
    "1b": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
}
TEXT: dict[str, dict[str, Any]] = {
    "demo": {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "intermediate_size": 3 * WIDTH,
        "vocab_size": VOCABULARY,
    },
    # InternVL3-1B
    "1b": {
        "hidden_size": 896,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "intermediate_size": 4864,
        "vocab_size": 151676,
    },
}


def build_predictor(size: str) -> Predictor:
    """A predictor of the size of "demo" or "1b" (4 GB), float32 on the CPU, random weights."""
    encoder = PromptEncoder(
        build_tokenizer(PROMPTS), tile_tokens=(TILE_SIZE // PATCH_SIZE // 2) ** 2
    )
    config = Self1eConfig(
        vision_config=VISION[size]
        | {
            "image_size": [TILE_SIZE, TILE_SIZE],
            "patch_size": [PATCH_SIZE, PATCH_SIZE],
            "attention_bias": True,
        },
        text_config=TEXT[size] | {"model_type": "qwen2", "tie_word_embeddings": True},
        tie_word_embeddings=True,
        image_token_id=encoder.image_token_id,
        seg_token_id=encoder.seg_token_id,
    )
    return Predictor(Self1eModel(config).eval(), encoder, batch_size=len(PROMPTS))


def seconds(run: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(predictor: Predictor, rounds: int) -> dict[str, float]:
    """Best times in seconds; each round takes all of them, so that noise hits them alike."""
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)

    def one_pass(prompt: str) -> Segmentation:
        return predictor.segment(predictor.encode_image(image), [prompt])[0]

    embedding = predictor.encode_image(image)
    predictor.segment(embedding, PROMPTS)  # warms up
    runs: dict[str, Callable[[], object]] = {
        "first_prompt": lambda: one_pass(PROMPTS[0]),
        "second_prompt": lambda: predictor.segment(embedding, PROMPTS[1:2]),
        "eight_prompts": lambda: predictor.segment(predictor.encode_image(image), PROMPTS),
        "eight_passes": lambda: [one_pass(prompt) for prompt in PROMPTS],
    }
    times = [{name: seconds(run) for name, run in runs.items()} for _ in range(rounds)]
    return {name: min(round_[name] for round_ in times) for name in runs}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=list(TEXT), default="demo")
    parser.add_argument("--check", action="store_true", help="exit with 1 if an aim is missed")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    best = measure(build_predictor(options.size), ROUNDS[options.size])
    ratios = {
        "second_prompt": best["second_prompt"] / best["first_prompt"],
        "eight_prompts": best["eight_prompts"] / best["eight_passes"],
    }
    met = all(ratios[name] <= aim for name, aim in AIMS.items())
    print(
        json.dumps(
            {
                "size": options.size,
                "seconds": {name: round(value, 3) for name, value in best.items()},
                "ratios": {name: round(value, 3) for name, value in ratios.items()},
                "aims": {name: round(value, 3) for name, value in AIMS.items()},
                "met": met,
            }
        )
    )
    return 1 if options.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
