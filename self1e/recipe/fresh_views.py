"""Training examples of views that are made anew for every step, as pixels."""

from collections.abc import Sequence
from random import Random

from torch.utils.data import Dataset

from self1e.image import normalise
from self1e.recipe.encoded_views import chat, target_masks, truth_known
from self1e.recipe.photos import Photo
from self1e.recipe.targets import draw_targets
from self1e.recipe.views import make_view, plan_views
from self1e.training import TrainingExample

_ATTEMPTS = 20  # views made until one shows something to ask for


class FreshExamples(Dataset[TrainingExample]):
    """Views of the photos, each drawn from its own number and never seen twice.

    Args:
        photos: the photos to train on.
        seed: of the views and of what is asked about them.
        size: side of a view in pixels.
        views: how many.
        prompts: asked about each.
        absent: expected share of prompts that ask for what is not there.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        *,
        seed: str,
        size: int,
        views: int,
        prompts: int,
        absent: float,
    ) -> None:
        self._photos = sorted(photos, key=lambda photo: photo.name)
        self._plan = plan_views(self._photos, views, Random(f"{seed}-plan"))
        self._seed = seed
        self._size = size
        self._prompts = prompts
        self._absent = absent

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, number: int) -> TrainingExample:
        rng = Random(f"{self._seed}-{number}")
        photo, augment = self._plan[number]
        for _ in range(_ATTEMPTS):
            view = make_view(photo, rng, self._size, augment=augment, others=self._photos)
            targets = draw_targets(view, rng, self._prompts, absent=self._absent)
            if len(targets) == self._prompts:
                return TrainingExample(
                    grid=(1, 1),
                    questions=[chat(target.prompt, rng) for target in targets],
                    masks=target_masks(targets),
                    counted=truth_known(view),
                    pixel_values=normalise(view.pixels[None]),
                )
            photo = rng.choice(self._photos)
        raise ValueError(f"Of {_ATTEMPTS} views none shows anything that is taught")
