from dataclasses import dataclass
from typing import cast

import torch

from self1e.finetune_recipe import FinetuneRecipe
from self1e.model import Self1eModel


@dataclass
class Config:
    width: int


@dataclass
class Model:
    """What a recipe depends on."""

    device: torch.device
    config: Config
    dtype: torch.dtype = torch.bfloat16


def model(width: int, device: str) -> Self1eModel:
    return cast(Self1eModel, Model(torch.device(device), Config(width)))


def test_a_small_model_on_a_cpu_keeps_features_and_forgets_by_share() -> None:
    recipe = FinetuneRecipe.of_model(model(384, "cpu"))
    assert recipe.keep_vision
    assert not recipe.adapter.vision
    assert recipe.adapter.projector
    assert recipe.prompt_tokens
    assert list(recipe.kept_shares) == sorted(recipe.kept_shares, reverse=True)
    assert 0 < recipe.kept_shares[-1] < recipe.kept_shares[0] < 1


def test_what_is_remembered_takes_more_steps_not_fewer_lessons() -> None:
    plain = FinetuneRecipe.of_model(model(384, "cpu"))
    remembering = FinetuneRecipe.of_model(model(384, "cpu"), remembers=True)
    assert remembering.replay_share > plain.replay_share

    def taught(recipe: FinetuneRecipe) -> float:
        return recipe.steps * (1 - recipe.replay_share)

    assert taught(remembering) >= taught(plain)


def test_a_large_model_on_a_gpu_is_trained_throughout_and_saves_memory() -> None:
    recipe = FinetuneRecipe.of_model(model(1536, "cuda"))
    assert recipe.adapter.vision
    assert not recipe.keep_vision
    assert recipe.gradient_checkpointing
    assert recipe.bf16
    assert recipe.kept_shares == (1.0,)


def test_a_memory_is_of_the_vision_tower_as_it_is_on_a_gpu_too() -> None:
    recipe = FinetuneRecipe.of_model(model(384, "cuda"), remembers=True)
    assert recipe.keep_vision
    assert not recipe.adapter.vision


def test_what_is_decided_already_stays() -> None:
    recipe = FinetuneRecipe.of_model(model(384, "cpu"), remembers=True, steps=60)
    assert recipe.steps == 60
