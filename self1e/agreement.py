"""How far a fine-tuned model has left its former self, on prompts that were not taught.

Nobody has marked the truth there. The former model's probabilities take its place: for each answer
the IoU that they let expect. Only answers count that the former model was sure of, a mask or
nothing. Of the others many are guesses, and a model that unlearns a guess has forgotten nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from self1e.image import load_image
from self1e.predictor import ImageEmbedding, Predictor
from self1e.replay import draw, expected_iou

SURE = 0.7
"""The IoU that a model expects of an answer that it is sure of, at least."""
TOLERANCE = 0.05
"""Share of it by which another answer may differ and still count as the same."""


class Scene(Protocol):
    """What can be asked about; `name` seeds the draw of what is asked."""

    @property
    def name(self) -> str:
        """The same in every process."""
        ...

    def embed(self, predictor: Predictor) -> ImageEmbedding:
        """What a model sees of it."""
        ...


@dataclass(frozen=True)
class PhotoScene:
    """A photo in a file."""

    path: Path

    @property
    def name(self) -> str:
        """That of the file."""
        return self.path.name

    def embed(self, predictor: Predictor) -> ImageEmbedding:
        """Reads and encodes it.

        Raises:
            OSError: it cannot be read.
        """
        return predictor.encode_image(load_image(self.path))


@dataclass(frozen=True)
class FormerAnswers:
    """What a model answers about a scene.

    Attributes:
        scene: a photo, or what is remembered of one.
        prompts: P of them.
        probabilities: uint8 (P, h, w), 0..255, of each place of the model's grid.
        masks: bool (P, h, w), as they are served.
    """

    scene: Scene
    prompts: tuple[str, ...]
    probabilities: Tensor
    masks: Tensor

    def expected_ious(self, masks: Tensor) -> list[float]:
        """The IoU to expect of each mask, bool (P, h, w)."""
        return [
            expected_iou(mask, probability.float() / 255)
            for mask, probability in zip(masks, self.probabilities, strict=True)
        ]

    @cached_property
    def own_ious(self) -> list[float]:
        """The IoUs to expect of its own masks."""
        return self.expected_ious(self.masks)

    def agreement(self, masks: Tensor) -> list[float]:
        """The IoUs to expect of another model's masks, or its own where that is as good."""
        return [
            own if abs(iou - own) <= TOLERANCE * own else iou
            for own, iou in zip(self.own_ious, self.expected_ious(masks), strict=True)
        ]

    def sure(self) -> "FormerAnswers":
        """Those answers alone that the model was sure of."""
        kept = [at for at, iou in enumerate(self.own_ious) if iou >= SURE]
        return FormerAnswers(
            self.scene,
            tuple(self.prompts[at] for at in kept),
            self.probabilities[kept],
            self.masks[kept],
        )


def ask_former(
    predictor: Predictor,
    scenes: Sequence[Scene],
    prompts: list[str],
    *,
    count: int,
    seed: int,
    pause: Callable[[], None] = lambda: None,
) -> list[FormerAnswers]:
    """Asks a model about scenes, before it is replaced, and keeps what it is sure of.

    Args:
        predictor: the former model.
        scenes: photos, or what is remembered of them.
        prompts: what may be asked.
        count: how many of them about each scene.
        seed: of the draws.
        pause: called before each scene; returns when work may go on.

    Returns:
        The sure answers about the scenes that have any. Of a model that is never sure all answers.

    Raises:
        OSError: a photo cannot be read.
    """
    answers = []
    for scene in scenes:
        pause()
        drawn = draw(prompts, count, f"{seed}-{scene.name}")
        probabilities, masks = _ask(predictor, scene, drawn)
        scaled = (probabilities * 255).round().to(torch.uint8)
        answers.append(FormerAnswers(scene, tuple(drawn), scaled, masks))
    return [sure for each in answers if (sure := each.sure()).prompts] or answers


def agreement(
    predictor: Predictor,
    former: Sequence[FormerAnswers],
    pause: Callable[[], None] = lambda: None,
) -> list[list[float]]:
    """For each scene the IoUs to expect of a model's masks; pauses as `ask_former`.

    Every mask changes a little in a training, which makes none better or worse: what differs by
    less than TOLERANCE counts as the former answer.
    """
    ious = []
    for answers in former:
        pause()
        _, masks = _ask(predictor, answers.scene, answers.prompts)
        ious.append(answers.agreement(masks))
    return ious


def _ask(predictor: Predictor, scene: Scene, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    return predictor.grid_answers(scene.embed(predictor), prompts)
