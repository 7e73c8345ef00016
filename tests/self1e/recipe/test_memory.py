"""Which photos the bundled model remembers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from self1e.image import load_image, tile_image
from self1e.predictor import Predictor
from self1e.recipe.memory import remember
from self1e.recipe.photos import Photo, held_out, read_photos
from tests.self1e.recipe.synthetic_photos import VOC_NAMES, write_all_sources, write_label_map


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    """A few of each source, and many dogs of VOC."""
    data_dir = write_all_sources(tmp_path / "data")
    labels = np.zeros((60, 80), dtype=np.uint8)
    labels[10:40, 10:40] = 12
    for number in range(30):
        write_label_map(data_dir / "voc", f"dog{number}", VOC_NAMES, labels, seed=100 + number)
    return read_photos(data_dir)


def test_photos_that_were_trained_on_are_remembered_and_no_others(
    tiny_predictor: Predictor, photos: list[Photo]
) -> None:
    memory = remember(tiny_predictor, photos, 0)
    again = remember(tiny_predictor, photos, 0)
    sources = ("ccp", "voc", "coco128")
    known = [photo for photo in photos if photo.source in sources and not held_out(photo)]
    assert any(held_out(photo) for photo in photos)
    assert 20 < len(memory) < len(known)  # 20 of VOC and all of the others
    features = []
    for photo in known:
        pixels, _ = tile_image(load_image(photo.path), tiny_predictor.model.config.tile_size, 1)
        with torch.inference_mode():
            features.append(tiny_predictor.model.encode_vision(pixels))
    for index in range(len(memory)):
        entry = memory.vision(index)
        assert torch.equal(entry, again.vision(index))
        distances = [float((entry - each).abs().mean()) for each in features]
        nearest, second = sorted(distances)[:2]
        assert nearest < 0.1 * second
