"""Several processes that train one model, as `accelerate launch` or `torchrun` start them.

The first one leads: it does all that a single process would, from the lock to the published
version. The others wait until it trains, train with it, and end with it. All read and write the
same data directory.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from backend.settings import Settings

if TYPE_CHECKING:  # torch takes seconds to import, which a dry run need not pay
    from accelerate import PartialState

    from self1e.finetune_recipe import FinetuneRecipe
    from self1e.finetune_views import FinetuneData


@dataclass(frozen=True)
class SharedTraining:
    """What each process must know to train: the arguments of `self1e.finetuning.finetune`."""

    data: "FinetuneData"
    out: Path
    recipe: "FinetuneRecipe"
    parent: Path | None


def in_group() -> bool:
    """Whether this process is one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def leads() -> bool:
    """Whether this process is the first of its group, or alone."""
    return int(os.environ.get("RANK", "0")) == 0


def own_device(settings: Settings) -> str:
    """The device of this process; in a group each process has a GPU of its own."""
    return str(_join(settings).device) if in_group() else settings.device


def share(training: SharedTraining, settings: Settings) -> None:
    """Called by the first process before it trains: the others begin, too."""
    if in_group():
        _send(training, settings)


def dismiss(settings: Settings) -> None:
    """Called by the first process at its end: the others end, too."""
    if in_group():
        _send(None, settings)
        _join(settings).destroy_process_group()


def follow(settings: Settings) -> None:
    """Trains whenever the first process does, until it dismisses this one."""
    from self1e.checkpoint import load_predictor
    from self1e.finetuning import finetune

    while (training := _send(None, settings)) is not None:
        base = load_predictor(
            settings.model,
            device=own_device(settings),
            dtype=settings.dtype,
            max_tiles=settings.max_tiles,
        )
        finetune(base, training.data, training.out, training.recipe, parent=training.parent)
    _join(settings).destroy_process_group()


def _send(training: SharedTraining | None, settings: Settings) -> SharedTraining | None:
    """Returns to every process what the first one gives."""
    from accelerate.utils import broadcast_object_list

    _join(settings)
    sent: list[SharedTraining | None] = [training]
    broadcast_object_list(sent)
    return sent[0]


def _join(settings: Settings) -> "PartialState":
    """This process's place in the group, which is made when all have called this."""
    import torch
    from accelerate import PartialState

    from self1e.finetuning import GROUP_WAIT

    cpu = settings.device == "cpu" or not torch.cuda.is_available()
    return PartialState(cpu=cpu, timeout=timedelta(seconds=GROUP_WAIT))
