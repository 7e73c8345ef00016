"""What a fine-tuned model must not forget: prompts about everyday things, and how its answers to
them are compared with those of the model it came from.

There need not be any ground truth: the former model's own probabilities take its place, in training
as soft targets and in the comparison as what an answer is expected to overlap with.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from self1e.predictor import expected_overlap, presence

SAMPLE_PHOTOS = tuple(
    Path(__file__).parent / "samples" / f"{name}.jpg"
    for name in ("astronaut", "cat", "coffee", "photographer")
)
"""Photos that come with the package, for whoever tries it."""

GENERAL_PROMPTS = tuple(
    f"the {noun}"
    for noun in (
        "airplane, animal, bag, bench, bicycle, bird, boat, book, bottle, bus, camera, car, cat, "
        "chair, child, cow, cup, dog, dress, face, flower, grass, hair, hat, horse, jacket, "
        "laptop, man, motorcycle, pants, person, phone, plant, plate, road, sheep, shirt, shoes, "
        "skirt, sky, sofa, spoon, table, tie, train, tree, truck, umbrella, vase, woman"
    ).split(", ")
)

_WORD = re.compile(r"\w+")
_ARTICLES = frozenset({"the", "a", "an"})


def replay_prompts(taught: Iterable[str], former: Iterable[str] = ()) -> list[str]:
    """The prompts to replay: general ones, and those that earlier fine-tunings taught.

    A prompt that shares a word with what is taught now is left out: it may well change.

    Args:
        taught: prompts of this fine-tuning.
        former: prompts of the ones before.
    """
    words = set[str]().union(*(_words(prompt) for prompt in taught))
    every = dict.fromkeys((*GENERAL_PROMPTS, *sorted(former)))
    return [prompt for prompt in every if not _words(prompt) & words]


def draw(prompts: list[str], count: int, seed: str) -> list[str]:
    """Some of the prompts, the same for the same seed."""
    return Random(seed).sample(prompts, min(count, len(prompts)))


def expected_iou(mask: Tensor, probability: Tensor) -> float:
    """The IoU to expect of a mask if each pixel belongs to the object with a probability.

    For a mask that is `self1e.predictor.expected_iou`: the expected intersection is the sum of the
    probability inside the mask, the expected union the mask's area plus the sum outside. An empty
    mask is right as far as nothing is seen clearly (`self1e.predictor.presence`).

    Args:
        mask: bool (h, w).
        probability: float (h, w), 0..1.
    """
    if not mask.any():
        return 1 - presence(probability)
    return expected_overlap(mask, probability)


def _words(prompt: str) -> set[str]:
    found = {word.casefold() for word in _WORD.findall(prompt)} - _ARTICLES
    return found | {word.removesuffix("s") for word in found}


def soft_targets(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Probabilities of mask logits (P, h, w) at another size (height, width), uint8 0..255."""
    resized = torch.nn.functional.interpolate(
        logits[:, None].float(), size=size, mode="bilinear", align_corners=False
    )[:, 0]
    return (resized.sigmoid() * 255).round().to(torch.uint8)
