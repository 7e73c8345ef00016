"""What a model remembers of its training photos."""

from pathlib import Path

import pytest
import torch

from self1e.agreement import PhotoScene
from self1e.hub import DEMO_MODEL, CheckpointError
from self1e.image import load_image, tile_image
from self1e.predictor import Predictor
from self1e.replay import SAMPLE_PHOTOS
from self1e.replay_memory import MEMORY_FILE, ReplayMemory


@pytest.fixture
def features() -> torch.Tensor:
    """Some channels are a thousand times as wide as others, and one is always 0."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(9, 16, 4, generator=generator) * torch.tensor([1.0, 1000.0, 0.0, 0.01])


def test_an_entry_comes_back_as_exact_as_127_steps_are(
    features: torch.Tensor, tmp_path: Path
) -> None:
    ReplayMemory.of(features).save(tmp_path)
    memory = ReplayMemory.load(tmp_path)
    assert memory is not None
    assert len(memory) == 9
    half_steps = features.abs().amax(dim=(0, 1)) / 127 / 2
    for index in range(9):
        entry = memory.vision(index)
        assert entry.shape == (1, 16, 4)
        assert ((entry[0] - features[index]).abs() <= half_steps * 1.001).all()


def test_what_is_trained_on_is_not_what_tells_of_forgetting(features: torch.Tensor) -> None:
    memory = ReplayMemory.of(features)
    assert [scene.name for scene in memory.apart] == ["memory-0", "memory-4", "memory-8"]
    assert memory.taught == [1, 2, 3, 5, 6, 7]


def test_a_model_need_not_have_one(tmp_path: Path) -> None:
    assert ReplayMemory.load(tmp_path) is None


@pytest.mark.parametrize("broken", [b"", b"not safetensors at all"])
def test_one_that_cannot_be_read_is_an_error(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / MEMORY_FILE).write_bytes(broken)
    with pytest.raises(CheckpointError, match=MEMORY_FILE):
        ReplayMemory.load(tmp_path)


def test_an_entry_is_answered_about_as_its_photo_is(tiny_predictor: Predictor) -> None:
    photo, prompts = SAMPLE_PHOTOS[1], ["the cat", "the cup"]
    pixels, _ = tile_image(load_image(photo), tiny_predictor.model.config.tile_size, 1)
    with torch.inference_mode():
        memory = ReplayMemory.of(tiny_predictor.model.encode_vision(pixels))
    (scene,) = memory.apart
    remembered, _ = tiny_predictor.grid_answers(scene.embed(tiny_predictor), prompts)
    seen, _ = tiny_predictor.grid_answers(PhotoScene(photo).embed(tiny_predictor), prompts)
    assert float((remembered - seen).abs().mean()) < 0.02
    assert float(seen.std()) > 0.1


def test_the_bundled_model_remembers_photos_to_train_on_and_to_tell_by() -> None:
    memory = ReplayMemory.load(DEMO_MODEL)
    assert memory is not None
    assert len(memory.taught) >= 30
    assert len(memory.apart) >= 10
