"""Vision features of photos that a model was trained on, kept beside its weights.

The photos of the bundled model may not be handed on, and without any a fine-tuning on one kind of
photo forgets the others. What its vision tower made of some of them is enough to ask about: their
tokens go through the rest of the network as a photo's do (latent replay, Pellegrini et al. 2020).
They only mean something to the vision tower they came from.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from self1e.hub import CheckpointError
from self1e.predictor import ImageEmbedding, Predictor

MEMORY_FILE = "replay.safetensors"
GRID = (1, 1)
"""Tiles of each entry, rows and columns: the whole photo, squashed to one tile."""

_STEPS = 127
_APART = 4


class ReplayMemory:
    """Entries in int8, a quarter of their size; each channel has a scale of its own."""

    def __init__(self, codes: Tensor, scale: Tensor) -> None:
        """Args: codes: int8 (N, N0, Cv); scale: float32 (Cv,), what a step of a code is worth."""
        self._codes = codes
        self._scale = scale

    @classmethod
    def of(cls, features: Tensor) -> "ReplayMemory":
        """Keeps features, float (N, N0, Cv): F_V0 of N photos in one tile each."""
        scale = features.abs().amax(dim=(0, 1)).clamp(min=torch.finfo().tiny).float() / _STEPS
        return cls((features.float() / scale).round().to(torch.int8), scale)

    @classmethod
    def load(cls, directory: Path) -> "ReplayMemory | None":
        """The memory of the model in a directory, None if it has none.

        Raises:
            CheckpointError: it cannot be read.
        """
        path = directory / MEMORY_FILE
        if not path.is_file():
            return None
        try:
            tensors = load_file(path)
            return cls(tensors["codes"], tensors["scale"])
        except (OSError, SafetensorError, KeyError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error

    def save(self, directory: Path) -> None:
        """Writes it beside a model's weights."""
        save_file({"codes": self._codes, "scale": self._scale}, directory / MEMORY_FILE)

    def __len__(self) -> int:
        return len(self._codes)

    def vision(self, index: int) -> Tensor:
        """F_V0 of an entry, float32 (1, N0, Cv)."""
        return self._codes[index : index + 1].float() * self._scale

    @property
    def taught(self) -> list[int]:
        """The entries that a fine-tuning trains on."""
        return [index for index in range(len(self)) if index % _APART]

    @property
    def apart(self) -> list["RememberedScene"]:
        """The entries that only tell what was forgotten."""
        return [RememberedScene(self, index) for index in range(0, len(self), _APART)]


class RememberedScene:
    """An entry that can be asked about (`self1e.agreement.Scene`)."""

    def __init__(self, memory: ReplayMemory, index: int) -> None:
        self.name = f"memory-{index}"
        self._memory = memory
        self._index = index

    @torch.inference_mode()
    def embed(self, predictor: Predictor) -> ImageEmbedding:
        """Its embedding, as if it were a photo of one tile's size."""
        model = predictor.model
        vision = self._memory.vision(self._index).to(model.device, model.dtype)
        side = model.config.tile_size
        return ImageEmbedding((side, side), model.project(vision, GRID))
