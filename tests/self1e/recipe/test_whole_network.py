from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from self1e.prompt import PromptEncoder
from self1e.recipe import network, whole_network
from self1e.recipe.curve import HeldOutCurve
from self1e.recipe.network import build_model, build_tokenizer
from self1e.recipe.options import DemoRecipe
from self1e.recipe.photos import read_photos
from self1e.recipe.phrases import corpus
from self1e.recipe.whole_network import train_whole, whole_stages
from tests.self1e.recipe.synthetic_photos import write_all_sources
from tests.self1e.recipe.test_network import dinov2, old_weights

RECIPE = DemoRecipe(sight_steps=2, sight_views=2, sight_size=56, whole_prompts=2, loaders=0)


def test_small_views_come_first_and_full_ones_learn_slower() -> None:
    sight, focus, again, last = whole_stages(DemoRecipe())
    assert [stage.name for stage in (sight, focus)] == ["sight-1", "focus-1"]
    assert [stage.name for stage in (again, last)] == ["sight-2", "focus-2"]
    assert (again.size, last.size) == (sight.size, focus.size)
    assert again.steps < sight.steps
    assert again.learning_rate < sight.learning_rate
    assert sight.size < focus.size == network.TILE_SIZE
    assert focus.learning_rate < sight.learning_rate
    assert focus.tower_learning_rate < sight.tower_learning_rate < sight.learning_rate


def test_all_but_the_towers_first_layers_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "VISION_LAYERS", 2)
    monkeypatch.setattr(whole_network, "FROZEN_LAYERS", 1)
    save_file(old_weights(dinov2(network.VISION_WIDTH, 2, network.VISION_HEADS)), tmp_path / "vit")
    tokenizer = build_tokenizer(corpus(0))
    model = build_model(tokenizer, tmp_path / "vit")
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    sight = replace(whole_stages(RECIPE)[0], warmup_steps=0)
    encoder = PromptEncoder(tokenizer, model.config.tile_tokens)
    curve = HeldOutCurve(encoder, {}, tmp_path / "curve.jsonl", every=2, most=1)
    train_whole(
        model,
        tokenizer,
        read_photos(write_all_sources(tmp_path / "data")),
        sight,
        curve,
        tmp_path / "out",
    )

    tower = "internvl.model.vision_tower."
    for name, weight in model.named_parameters():
        frozen = name.startswith((f"{tower}embeddings.", f"{tower}encoder.layer.0."))
        assert not (frozen and not torch.equal(weight, before[name])), name
    for moved in (f"{tower}encoder.layer.1.mlp.fc1.weight", "mask_head.fuse.first.weight"):
        assert not torch.equal(model.get_parameter(moved), before[moved])
