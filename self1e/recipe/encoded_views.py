"""Training views with their vision features, and what is drawn from them at every step."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from tqdm import tqdm

from self1e.model import Self1eModel
from self1e.prompt import ANSWER, PHRASE_QUESTION, TRAIN_ANSWERS, TRAIN_PHRASE_QUESTIONS
from self1e.recipe.feature_cache import FeatureCache
from self1e.recipe.network import PATCH_SIZE, TILE_SIZE, VISION_WIDTH
from self1e.recipe.options import PLANNED_VIEWS, DemoRecipe
from self1e.recipe.photos import Photo
from self1e.recipe.phrase_reading import ReadingBatch
from self1e.recipe.targets import MASK_SIZE
from self1e.recipe.views import Target, View, draw_targets, make_view, plan_views
from self1e.recipe.word_alignment import PhraseBatch
from self1e.training import TrainingExample

_USUAL_CHAT = 0.7  # share of prompts asked and answered as at inference


@dataclass(frozen=True)
class GuidedExample(TrainingExample):
    """A training example with its prompts' phrases."""

    phrases: Sequence[str] = ()


class EncodedViews:
    """The views' marks and their vision features."""

    def __init__(self, photos: Sequence[Photo], recipe: DemoRecipe, out: Path) -> None:
        self._photos = sorted(photos, key=lambda photo: photo.name)
        plan = plan_views(self._photos, PLANNED_VIEWS, Random(f"{recipe.seed}-plan"))
        self._plan = plan[: recipe.views]
        self._recipe = recipe
        self._features = FeatureCache(
            out / "features.f16", recipe.views, ((TILE_SIZE // PATCH_SIZE) ** 2, VISION_WIDTH)
        )
        self._marks: list[View] = []

    def prepare(self, model: Self1eModel) -> None:
        """Encodes what is not encoded yet and makes the marks of all views."""
        made: dict[int, View] = {}

        def pixels(index: int) -> NDArray[np.uint8]:
            view = self._view(index)
            made[index] = view.without_pixels()
            return view.pixels

        self._features.fill(model, pixels, description="vision")
        self._marks = [
            made[i] if i in made else self._view(i).without_pixels()
            for i in tqdm(range(len(self._plan)), desc="marks", unit="view")
        ]

    def _view(self, index: int) -> View:
        photo, augment = self._plan[index]
        rng = Random(f"{self._recipe.seed}-view-{index}")
        return make_view(photo, rng, TILE_SIZE, augment=augment, others=self._photos)

    def draw(self, rng: Random, prompts: int) -> tuple[int, list[Target]]:
        """A view of which that many things can be asked, and the prompts."""
        while True:
            index = rng.randrange(len(self._marks))
            targets = draw_targets(self._marks[index], rng, prompts, absent=self._recipe.absent)
            if len(targets) == prompts:
                return index, targets

    def features(self, views: list[int]) -> torch.Tensor:
        """F_V0 of some views, float32 (V, N0, Cv)."""
        return self._features[views]

    def counted(self, index: int) -> torch.Tensor:
        """Float (h, w), 0 where a view's truth is not known."""
        return truth_known(self._marks[index])

    def phrase_batch(self, step: int) -> PhraseBatch:
        """The batch of a step of word alignment."""
        rng = Random(f"{self._recipe.seed}-words-{step}")
        drawn = [self.draw(rng, self._recipe.word_phrases) for _ in range(self._recipe.word_views)]
        return PhraseBatch(
            vision=self.features([index for index, _ in drawn]),
            phrases=[[target.prompt for target in targets] for _, targets in drawn],
            masks=torch.stack([target_masks(targets) for _, targets in drawn]),
            counted=torch.stack([self.counted(index) for index, _ in drawn]),
        )

    def reading_batch(self, step: int, tile_tokens: int) -> ReadingBatch:
        """The batch of a step of learning to read."""
        rng = Random(f"{self._recipe.seed}-reading-{step}")
        drawn = [
            self.draw(rng, self._recipe.reading_phrases) for _ in range(self._recipe.reading_views)
        ]
        phrases = [[target.prompt for target in targets] for _, targets in drawn]
        columns = rng.sample(range(tile_tokens), self._recipe.reading_image_tokens)
        return ReadingBatch(
            vision=self.features([index for index, _ in drawn]),
            chats=[[chat(phrase, rng) for phrase in row] for row in phrases],
            phrases=phrases,
            image_columns=torch.tensor(sorted(columns)),
        )


class DemoExamples(Dataset[TrainingExample]):
    """Examples of the second stage, each drawn from its own number."""

    def __init__(self, views: EncodedViews, recipe: DemoRecipe) -> None:
        self._views = views
        self._recipe = recipe

    def __len__(self) -> int:
        return self._recipe.steps * self._recipe.step_views

    def __getitem__(self, number: int) -> GuidedExample:
        rng = Random(f"{self._recipe.seed}-example-{number}")
        index, targets = self._views.draw(rng, self._recipe.step_prompts)
        return GuidedExample(
            grid=(1, 1),
            questions=[chat(target.prompt, rng) for target in targets],
            masks=target_masks(targets),
            counted=self._views.counted(index),
            vision=self._views.features([index]),
            phrases=[target.prompt for target in targets],
        )


def chat(phrase: str, rng: Random) -> tuple[str, str]:
    """A user turn and an answer: mostly those of inference, at times the others."""
    if rng.random() < _USUAL_CHAT:
        return PHRASE_QUESTION.format(phrase), ANSWER
    return rng.choice(TRAIN_PHRASE_QUESTIONS).format(phrase), rng.choice(TRAIN_ANSWERS)


def target_masks(targets: Sequence[Target]) -> torch.Tensor:
    """The prompts' truths, float (P, h, w)."""
    return torch.from_numpy(np.stack([target.mask for target in targets])).float()


def truth_known(view: View) -> torch.Tensor:
    """Float (h, w), 0 where a view's truth is not known."""
    if view.ignore is None:
        return torch.ones(MASK_SIZE, MASK_SIZE)
    return torch.from_numpy(~view.ignore).float()
