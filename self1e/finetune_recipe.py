"""How a model is fine-tuned, and what suits which model on which device."""

from dataclasses import dataclass, field
from typing import Any

import torch

from self1e.adapter import AdapterOptions
from self1e.model import Self1eModel
from self1e.precision import bfloat16_pays

_SMALL_WIDTH = 1024


@dataclass(frozen=True)
class FinetuneRecipe:
    """How a model is fine-tuned."""

    adapter: AdapterOptions = field(default_factory=AdapterOptions)
    seed: int = 0
    steps: int = 350
    """At most; it stops early when the validation loss no longer falls."""
    warmup_steps: int = 20
    learning_rate: float = 1e-3
    batch_photos: int = 4
    """Photos of a step and process."""
    taught_prompts: int = 4
    """Prompts with a truth about each of them, at most."""
    replayed_prompts: int = 2
    """Prompts with a former answer about each of them."""
    replay_share: float = 0.25
    """Share of the photos that teach nothing new."""
    views_per_photo: int = 6
    views_per_package_photo: int = 5
    """Of the photos that come with the package, about which nothing new is taught."""
    most_views: int = 2000
    """Fewer views per photo are made if there were more of them than this, 1 MB each."""
    kept_answers: int = 6
    """Former answers kept with each view."""
    eval_steps: int = 25
    patience: int = 4
    """Evaluations in a row without a lower validation loss after which it stops."""
    kept_shares: tuple[float, ...] = (1.0,)
    """Shares of what the training changed, each of which gives an adapter. A little less than all
    forgets less and has learned nearly as much (Wortsman et al., "Robust fine-tuning of zero-shot
    models")."""
    prompt_tokens: bool = True
    """Whether the embeddings of the taught prompts' words are trained: a small model never saw most
    words, a large one knows them."""
    keep_vision: bool = True
    """Whether to compute vision features once; needs a vision tower that is not trained."""
    bf16: bool = False
    """Whether to compute in bfloat16 (autocast)."""
    gradient_checkpointing: bool = False
    """Whether to compute activations twice instead of keeping them."""

    def __post_init__(self) -> None:
        """Refuses what contradicts itself."""
        if self.keep_vision and self.adapter.vision:
            raise ValueError("keep_vision keeps what adapter.vision trains: give one of the two")

    @classmethod
    def of_model(
        cls, model: Self1eModel, *, remembers: bool = False, **changes: Any
    ) -> "FinetuneRecipe":
        """The recipe for a model on its device: everything on CUDA, features kept on a CPU.

        Args:
            model: to be fine-tuned.
            remembers: whether it has a replay memory, which is of its vision tower as it is.
            changes: fields that are decided already.
        """
        cuda = model.device.type == "cuda"
        small = model.config.width < _SMALL_WIDTH
        vision = cuda and not remembers
        own: dict[str, Any] = {
            "adapter": AdapterOptions(vision=vision, projector=True)
            if small
            else AdapterOptions(rank=64, alpha=128, vision=vision),
            "learning_rate": 1e-3 if small else 1e-4,
            # As much is taught, and twice as much of what is remembered is replayed.
            **({"steps": 450, "replay_share": 0.4} if remembers else {}),
            "kept_shares": (0.85, 0.75, 0.65) if small else (1.0,),
            "prompt_tokens": small,
            "keep_vision": not vision,
            "bf16": model.dtype != torch.float32 or bfloat16_pays(model.device.type),
            "gradient_checkpointing": cuda and not small,
        }
        return cls(**(own | changes))
