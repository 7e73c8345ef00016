"""How far a fine-tuned model has left its former self, on prompts that were not taught.

Nobody has marked the truth there. The former model's probabilities take its place: for each answer
the IoU that they let expect. Only answers count that the former model was sure of, a mask or
nothing. Of the others many are guesses, and a model that unlearns a guess has forgotten nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from self1e.image import load_image
from self1e.predictor import Predictor
from self1e.replay import draw, expected_iou

SURE = 0.7
"""The IoU that a model expects of an answer that it is sure of, at least."""


@dataclass(frozen=True)
class FormerAnswers:
    """What a model answers about a photo.

    Attributes:
        photo: its file.
        prompts: P of them.
        probabilities: uint8 (P, h, w), 0..255, of each place of the model's grid.
        masks: bool (P, h, w), as they are served.
    """

    photo: Path
    prompts: tuple[str, ...]
    probabilities: Tensor
    masks: Tensor

    def expected_ious(self, masks: Tensor) -> list[float]:
        """The IoU to expect of each mask, bool (P, h, w)."""
        return [
            expected_iou(mask, probability.float() / 255)
            for mask, probability in zip(masks, self.probabilities, strict=True)
        ]

    @property
    def own_ious(self) -> list[float]:
        """The IoUs to expect of its own masks."""
        return self.expected_ious(self.masks)

    def sure(self) -> "FormerAnswers":
        """Those answers alone that the model was sure of."""
        kept = [at for at, iou in enumerate(self.own_ious) if iou >= SURE]
        return FormerAnswers(
            self.photo,
            tuple(self.prompts[at] for at in kept),
            self.probabilities[kept],
            self.masks[kept],
        )


def ask_former(
    predictor: Predictor,
    photos: Sequence[Path],
    prompts: list[str],
    *,
    count: int,
    seed: int,
    pause: Callable[[], None] = lambda: None,
) -> list[FormerAnswers]:
    """Asks a model about photos, before it is replaced, and keeps what it is sure of.

    Args:
        predictor: the former model.
        photos: files of photos.
        prompts: what may be asked.
        count: how many of them about each photo.
        seed: of the draws.
        pause: called before each photo; returns when work may go on.

    Returns:
        The sure answers of the photos that have any. Of a model that is never sure all answers.

    Raises:
        OSError: a photo cannot be read.
    """
    answers = []
    for photo in photos:
        pause()
        drawn = draw(prompts, count, f"{seed}-{photo.name}")
        probabilities, masks = _ask(predictor, photo, drawn)
        scaled = (probabilities * 255).round().to(torch.uint8)
        answers.append(FormerAnswers(photo, tuple(drawn), scaled, masks))
    return [sure for each in answers if (sure := each.sure()).prompts] or answers


def agreement(
    predictor: Predictor,
    former: Sequence[FormerAnswers],
    pause: Callable[[], None] = lambda: None,
) -> list[list[float]]:
    """For each photo the IoUs to expect of a model's masks; pauses as `ask_former`."""
    ious = []
    for answers in former:
        pause()
        _, masks = _ask(predictor, answers.photo, answers.prompts)
        ious.append(answers.expected_ious(masks))
    return ious


def _ask(predictor: Predictor, photo: Path, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    model = predictor.model
    # What is trained of a model in half precision is in single precision while it is trained.
    with torch.autocast(model.device.type, torch.bfloat16, enabled=model.dtype != torch.float32):
        return predictor.grid_answers(predictor.encode_image(load_image(photo)), prompts)
