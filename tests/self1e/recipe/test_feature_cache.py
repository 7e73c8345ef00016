from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from self1e.image import normalise
from self1e.model import Self1eModel
from self1e.recipe.feature_cache import FeatureCache
from tests.tiny_model import TILE_SIZE, VISION_WIDTH

VIEWS, SHAPE = 19, (16, VISION_WIDTH)


class StopError(Exception):
    """What ends a run at a chosen view."""


def view(index: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(index)
    return rng.integers(0, 256, (TILE_SIZE, TILE_SIZE, 3), dtype=np.uint8)


def test_stopped_run_goes_on_where_it_was(tmp_path: Path, tiny_model: Self1eModel) -> None:
    asked: list[int] = []

    def until_stopped(index: int) -> NDArray[np.uint8]:
        if index == 12:
            raise StopError
        return view(index)

    def noted(index: int) -> NDArray[np.uint8]:
        asked.append(index)
        return view(index)

    path = tmp_path / "features.f16"
    first = FeatureCache(path, VIEWS, SHAPE)
    with pytest.raises(StopError):
        first.fill(tiny_model, until_stopped, description="vision")
    assert first.done == 8

    second = FeatureCache(path, VIEWS, SHAPE)
    assert second.done == 8
    second.fill(tiny_model, noted, description="vision")
    assert asked == list(range(8, VIEWS))
    assert FeatureCache(path, VIEWS, SHAPE).done == VIEWS

    whole = FeatureCache(tmp_path / "whole.f16", VIEWS, SHAPE)
    whole.fill(tiny_model, view, description="vision")
    everything = list(range(VIEWS))
    torch.testing.assert_close(second[everything], whole[everything], rtol=0, atol=0)


def test_features_are_those_of_the_vision_tower(tmp_path: Path, tiny_model: Self1eModel) -> None:
    cache = FeatureCache(tmp_path / "features.f16", 3, SHAPE)
    cache.fill(tiny_model, view, description="vision")
    found = cache[[2, 0]]
    assert found.dtype == torch.float32
    with torch.inference_mode():
        exact = tiny_model.encode_vision(normalise(np.stack([view(2), view(0)])))
    # Computed in bfloat16 and kept in float16.
    error = (found - exact).norm() / exact.norm()
    assert error < 0.05
