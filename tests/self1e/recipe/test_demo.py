import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from self1e.checkpoint import load_predictor
from self1e.recipe import demo, network
from self1e.recipe.demo import VISION_WEIGHTS, train_demo
from self1e.recipe.options import DemoRecipe
from self1e.replay_memory import ReplayMemory
from tests.self1e.recipe.synthetic_photos import (
    HEIGHT,
    VOC_NAMES,
    WIDTH,
    write_all_sources,
    write_label_map,
)
from tests.self1e.recipe.test_network import dinov2, old_weights

SHORT = DemoRecipe(
    views=6,
    word_steps=2,
    word_views=2,
    word_phrases=2,
    reading_steps=2,
    reading_views=2,
    reading_phrases=2,
    steps=2,
    step_views=2,
    step_prompts=2,
    warmup_steps=1,
    guide_steps=1,
    sight_steps=2,
    sight_views=2,
    sight_size=112,
    focus_steps=2,
    focus_views=1,
    whole_prompts=2,
    loaders=0,
)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All sources, with so many dog photos that some are held out, and a small vision tower."""
    monkeypatch.setattr(network, "VISION_LAYERS", 2)
    data_dir = write_all_sources(tmp_path / "data")
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    labels[10:40, 10:40] = 12
    for number in range(20):
        write_label_map(data_dir / "voc", f"dog{number}", VOC_NAMES, labels, seed=100 + number)
    tower = dinov2(network.VISION_WIDTH, 2, network.VISION_HEADS)
    save_file(old_weights(tower), data_dir / VISION_WEIGHTS)
    return data_dir


def test_all_stages_lead_to_a_model_that_loads_and_stay_done(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "CURVE_STEPS", 2)
    out = tmp_path / "out"

    figures = train_demo(data_dir, out, SHORT)

    assert figures
    assert all(0 <= values["giou"] <= 1 for values in figures.values())
    for stage in ("prompts", "sight-1", "focus-1"):
        curve = json.loads((out / f"curve-{stage}.jsonl").read_text())
        assert curve.keys() == {"step"} | figures.keys()
    assert load_predictor(out / "model").model.config.tile_size == network.TILE_SIZE
    assert ReplayMemory.load(out / "model") is not None

    stages = [
        out / name / "model.safetensors" for name in ("words", "prompts", "sight-1", "focus-2")
    ]
    written = [stage.stat().st_mtime_ns for stage in stages]
    torch.manual_seed(1)
    again = train_demo(data_dir, out, SHORT)
    assert [stage.stat().st_mtime_ns for stage in stages] == written
    assert again == figures
