"""Training views on disk, a file each: pixels or vision features, truths and the former answers.

So memory does not grow with the number of photos, a stopped run finds what it had prepared, and
several processes read what one has written. With a vision tower that is not trained its features
are computed once, which is most of a step's time on a CPU.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from self1e.losses import TARGET_SHORT_SIDE
from self1e.model import Self1eModel
from self1e.predictor import presence
from self1e.prompt import ANSWER, PromptEncoder
from self1e.replay import draw, soft_targets
from self1e.replay_memory import GRID, ReplayMemory
from self1e.taught_views import PhotoLesson, make_view
from self1e.training import TrainingExample

_AT_ONCE = 16  # prompts in a pass
_SHOWN = 0.5
"""How clearly (`self1e.predictor.presence`) an answer shows something, at least."""


@dataclass(frozen=True)
class PlannedView:
    """A view to be made; number 0 shows the photo as it is, the others change it."""

    lesson: PhotoLesson
    number: int
    replayed: tuple[str, ...] = ()
    """Prompts whose former answers are kept with it."""


@dataclass(frozen=True)
class RememberedView:
    """An entry of the model's replay memory, about which nothing new is taught.

    It has vision features only: for stores that keep those.
    """

    memory: ReplayMemory
    index: int
    replayed: tuple[str, ...]


@dataclass(frozen=True)
class _Answers:
    """Former answers, those first that show something.

    `probabilities` are uint8 (P, h, w), 0..255; `shown` says how many show something.
    """

    prompts: tuple[str, ...]
    probabilities: Tensor
    shown: int

    @classmethod
    def of(cls, prompts: Sequence[str], probabilities: Tensor) -> "_Answers":
        """Brings answers into that order."""
        shows = [presence(each / 255) >= _SHOWN for each in probabilities]
        order = sorted(range(len(prompts)), key=lambda at: not shows[at])
        return cls(tuple(prompts[at] for at in order), probabilities[order], sum(shows))


class ViewStore(Dataset[TrainingExample]):
    """Views in files; example i asks all that view i knows."""

    def __init__(
        self,
        directory: Path,
        plan: Sequence[PlannedView | RememberedView],
        encoder: PromptEncoder,
        *,
        seed: int,
        max_tiles: int,
        keep_vision: bool,
    ) -> None:
        """Keeps its arguments.

        Args:
            directory: where the files go.
            plan: the views; the same plan gives the same files.
            encoder: made with the model's tokenizer.
            seed: of all draws.
            max_tiles: most tiles of a photo.
            keep_vision: whether to keep vision features in place of pixels.
        """
        self._directory = directory
        self._plan = plan
        self._encoder = encoder
        self._seed = seed
        self._max_tiles = max_tiles
        self._keep_vision = keep_vision

    def prepare(
        self, model: Self1eModel, pause: Callable[[], None], *, description: str, progress: bool
    ) -> None:
        """Makes the views that are not there yet.

        Args:
            model: in evaluation mode, answering as it did before it is trained.
            pause: called before each view; returns when work may go on.
            description: the progress bar's title.
            progress: whether to show it.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        for index in tqdm(
            range(len(self._plan)), desc=description, unit="view", disable=not progress
        ):
            if not self._path(index).is_file():
                pause()
                # What is trained of a model in half precision is in single precision by now.
                with torch.autocast(
                    model.device.type, torch.bfloat16, enabled=model.dtype != torch.float32
                ):
                    self._write(index, model)

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> TrainingExample:
        return self.example(index)

    def example(
        self, index: int, rng: Random | None = None, taught: int = 0, replayed: int = 0
    ) -> TrainingExample:
        """A view and what is asked of it.

        Args:
            index: of the view.
            rng: draws the prompts; None asks for all that is taught and nothing else.
            taught: at most this many prompts with a truth.
            replayed: at most this many with a former answer, half of them such that show
                something, as far as there are any: most prompts fit nothing in most photos, and a
                model that only hears of those learns to see nothing.
        """
        with safe_open(self._path(index), framework="pt") as file:
            about = json.loads(file.metadata()["view"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        asked = list(range(len(about["prompts"])))
        if rng is not None:
            known, shown = about["known"], about["known"] + about["shown"]
            asked = _draw(range(known), taught, rng)
            seen = _draw(range(known, shown), (replayed + 1) // 2, rng)
            others = range(shown, len(about["prompts"]))
            asked += seen + _draw(others, replayed - len(seen), rng)
        else:
            asked = asked[: about["known"]]
        return TrainingExample(
            grid=(about["grid"][0], about["grid"][1]),
            questions=[(self._encoder.user_turn(about["prompts"][at]), ANSWER) for at in asked],
            masks=tensors["masks"][asked].float() / 255,
            counted=tensors["counted"].float(),
            pixel_values=None if self._keep_vision else tensors["tiles"].float(),
            vision=tensors["tiles"].float() if self._keep_vision else None,
            soft=torch.tensor([at >= about["known"] for at in asked], dtype=torch.bool),
        )

    @torch.inference_mode()
    def _write(self, index: int, model: Self1eModel) -> None:
        planned = self._plan[index]
        if isinstance(planned, RememberedView):
            self._write_remembered(index, planned, model)
            return
        rng = Random(f"{self._seed}-{planned.lesson.photo.name}-{planned.number}")
        view = make_view(
            planned.lesson,
            rng,
            model.config.tile_size,
            self._max_tiles,
            augment=planned.number > 0,
        )
        vision = model.encode_vision(view.pixel_values.to(model.device, model.dtype))
        size = (view.counted.shape[0], view.counted.shape[1])
        former = self._former_answers(model, view.grid, size, vision, planned.replayed)
        tiles = vision if self._keep_vision else view.pixel_values
        _write_file(
            self._path(index),
            {
                "tiles": tiles.to("cpu", torch.float16),
                "masks": torch.cat([view.masks, former.probabilities]),
                "counted": view.counted,
            },
            {
                "grid": view.grid,
                "prompts": [*view.prompts, *former.prompts],
                "known": len(view.prompts),
                "shown": former.shown,
            },
        )

    def _write_remembered(self, index: int, planned: RememberedView, model: Self1eModel) -> None:
        vision = planned.memory.vision(planned.index).to(model.device, model.dtype)
        size = (TARGET_SHORT_SIDE, TARGET_SHORT_SIDE)
        former = self._former_answers(model, GRID, size, vision, planned.replayed)
        _write_file(
            self._path(index),
            {
                "tiles": vision.to("cpu", torch.float16),
                "masks": former.probabilities,
                "counted": torch.ones(size, dtype=torch.bool),
            },
            {"grid": GRID, "prompts": former.prompts, "known": 0, "shown": former.shown},
        )

    def _former_answers(
        self,
        model: Self1eModel,
        grid: tuple[int, int],
        size: tuple[int, int],
        vision: Tensor,
        prompts: Sequence[str],
    ) -> _Answers:
        """What the model answers before it is trained, at a size (height, width)."""
        if not prompts:
            return _Answers((), torch.zeros(0, *size, dtype=torch.uint8), 0)
        features, targets = model.project(vision, grid), []
        for start in range(0, len(prompts), _AT_ONCE):
            asked = prompts[start : start + _AT_ONCE]
            batch = self._encoder.encode(asked, grid[0] * grid[1])
            rows = torch.zeros(len(asked), dtype=torch.int64, device=vision.device)
            output = model.segment(
                [features.select(rows)],
                batch.input_ids.to(vision.device),
                batch.attention_mask.to(vision.device),
            )
            targets.append(soft_targets(output.masks[0].final, size).cpu())
        return _Answers.of(prompts, torch.cat(targets))

    def _path(self, index: int) -> Path:
        return self._directory / f"view-{index:05}.safetensors"


def plan_view(
    lesson: PhotoLesson, number: int, prompts: list[str], count: int, *, seed: int
) -> PlannedView:
    """A view with `count` of the prompts to replay."""
    drawn = draw(prompts, count, f"{seed}-{lesson.photo.name}-{number}-replay")
    return PlannedView(lesson, number, tuple(drawn))


def _draw(places: range, most: int, rng: Random) -> list[int]:
    return sorted(rng.sample(places, min(most, len(places))))


def _write_file(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """All or nothing: a file that is there is whole."""
    partial = path.with_suffix(".part")
    save_file(
        {name: each.contiguous() for name, each in tensors.items()},
        partial,
        metadata={"view": json.dumps(about)},
    )
    partial.replace(path)
