"""Which view each training example is of, and what is asked of it."""

from collections.abc import Sequence
from random import Random

from torch.utils.data import Dataset

from self1e.training import TrainingExample
from self1e.view_store import ViewStore


class DrawnExamples(Dataset[TrainingExample]):
    """What every step sees, drawn from the example's number: any process draws the same."""

    def __init__(
        self,
        store: ViewStore,
        photos: Sequence[range],
        replayed_views: range,
        *,
        examples: int,
        seed: int,
        taught: int,
        replayed: int,
        replay_share: float,
    ) -> None:
        """Keeps its arguments.

        Args:
            store: the views.
            photos: the views of each taught photo.
            replayed_views: views that ask nothing new.
            examples: how many there are.
            seed: of all draws.
            taught: prompts with a truth about a view.
            replayed: prompts with a former answer about a view.
            replay_share: share of examples that are of the replayed views, 0..1.
        """
        self._store = store
        self._photos = photos
        self._replayed_views = replayed_views
        self._examples = examples
        self._seed = seed
        self._taught = taught
        self._replayed = replayed
        self._replay_share = replay_share

    def __len__(self) -> int:
        return self._examples

    def __getitem__(self, number: int) -> TrainingExample:
        rng = Random(f"{self._seed}-example-{number}")
        if self._replayed_views and rng.random() < self._replay_share:
            most = self._taught + self._replayed
            return self._store.example(rng.choice(self._replayed_views), rng, most, most)
        epoch, place = divmod(number, len(self._photos))
        order = list(range(len(self._photos)))
        Random(f"{self._seed}-epoch-{epoch}").shuffle(order)
        view = rng.choice(self._photos[order[place]])
        return self._store.example(view, rng, self._taught, self._replayed)
