"""How far a fine-tuned model has left its former self, on prompts that were not taught.

Nobody has marked the truth there. The former model's probabilities take its place: for each answer
the IoU that they let expect. The former model's own masks score nearly best by that, so what is
lost is what it was sure of; where it was unsure, another answer costs little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from self1e.image import load_image
from self1e.predictor import Predictor
from self1e.replay import draw, expected_iou


@dataclass(frozen=True)
class FormerAnswers:
    """What a model answers about a photo: probabilities uint8 (P, h, w), 0..255, of P prompts."""

    photo: Path
    prompts: tuple[str, ...]
    probabilities: Tensor

    def expected_ious(self, masks: Tensor) -> list[float]:
        """The IoU to expect of each mask, bool (P, h, w)."""
        return [
            expected_iou(mask, probability.float() / 255)
            for mask, probability in zip(masks, self.probabilities, strict=True)
        ]

    @property
    def own_ious(self) -> list[float]:
        """The IoUs to expect of its own masks."""
        return self.expected_ious(self.probabilities > 127)


def ask_former(
    predictor: Predictor, photos: Sequence[Path], prompts: list[str], *, count: int, seed: int
) -> list[FormerAnswers]:
    """Asks a model about photos, before it is replaced.

    Args:
        predictor: the former model.
        photos: files of photos.
        prompts: what may be asked.
        count: how many of them about each photo.
        seed: of the draws.

    Raises:
        OSError: a photo cannot be read.
    """
    answers = []
    for photo in photos:
        drawn = draw(prompts, count, f"{seed}-{photo.name}")
        probabilities = _ask(predictor, photo, drawn)
        answers.append(
            FormerAnswers(photo, tuple(drawn), (probabilities * 255).round().to(torch.uint8))
        )
    return answers


def agreement(predictor: Predictor, former: Sequence[FormerAnswers]) -> list[list[float]]:
    """For each photo the IoUs to expect of a model's masks."""
    return [
        answers.expected_ious(_ask(predictor, answers.photo, answers.prompts) > 0.5)
        for answers in former
    ]


def _ask(predictor: Predictor, photo: Path, prompts: Sequence[str]) -> Tensor:
    embedding = predictor.encode_image(load_image(photo))
    size = predictor.batch_size
    chunks = [prompts[start : start + size] for start in range(0, len(prompts), size)]
    return torch.cat([predictor.probabilities(embedding, chunk).cpu() for chunk in chunks])
