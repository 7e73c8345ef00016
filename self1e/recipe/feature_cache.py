"""Frozen vision features of many training views, computed once and kept on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from self1e.image import normalise
from self1e.model import Self1eModel
from self1e.precision import autocast

_BATCH = 8


class FeatureCache:
    """Vision features of n views in one file, fp16 (n, N0, Cv), written view by view.

    A file `<path>.count` says how many are done, so that a stopped run goes on where it was.
    """

    def __init__(self, path: Path, views: int, shape: tuple[int, int]) -> None:
        self._count_path = path.with_suffix(".count")
        self.done = int(self._count_path.read_text()) if self._count_path.is_file() else 0
        self._features: NDArray[np.float16] = np.memmap(
            path,
            dtype=np.float16,
            mode="r+" if path.is_file() else "w+",
            shape=(views, *shape),
        )

    def fill(
        self, model: Self1eModel, pixels: Callable[[int], NDArray[np.uint8]], *, description: str
    ) -> None:
        """Encodes the views that are not done yet, with a progress bar.

        Args:
            model: its vision tower is used as it is.
            pixels: gives view i as uint8 (S, S, 3).
            description: the progress bar's title.
        """
        total = len(self._features)
        with tqdm(total=total, initial=self.done, desc=description, unit="view") as bar:
            for start in range(self.done, total, _BATCH):
                stop = min(start + _BATCH, total)
                batch = normalise(np.stack([pixels(i) for i in range(start, stop)]))
                with torch.inference_mode(), autocast("cpu"):
                    features = model.encode_vision(batch)
                self._features[start:stop] = features.to(torch.float16).numpy()
                self.done = stop
                self._count_path.write_text(str(stop))
                bar.update(stop - start)

    def __getitem__(self, views: list[int]) -> torch.Tensor:
        """Features of some views, float32 (V, N0, Cv)."""
        return torch.from_numpy(self._features[views]).float()
