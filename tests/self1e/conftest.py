from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from self1e.checkpoint import load_model, load_predictor
from self1e.model import Self1eModel
from self1e.predictor import Predictor
from tests.tiny_model import write_tiny_model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from more, and wait long for them on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on disk, not to be written to."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_predictor(tiny_directory: Path) -> Predictor:
    return load_predictor(tiny_directory, device="cpu")


@pytest.fixture
def tiny_model(tiny_directory: Path) -> Self1eModel:
    """A copy of the test's own, which it may train."""
    model, _ = load_model(tiny_directory, device=torch.device("cpu"), dtype=torch.float32)
    return model


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """Noise, 90 wide and 60 high."""
    pixels = np.random.default_rng(3).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
