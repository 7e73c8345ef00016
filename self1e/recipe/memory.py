"""What the bundled model remembers of its training photos, for fine-tunings to come."""

from collections.abc import Sequence
from random import Random

import torch

from self1e.image import load_image, tile_image
from self1e.predictor import Predictor
from self1e.recipe.photos import Photo, held_out
from self1e.replay_memory import ReplayMemory

# By source: scenes with many things, dressed people, and few of the widest choice.
_PHOTOS = {"ccp": 20, "voc": 20, "coco128": 8}


def remember(predictor: Predictor, photos: Sequence[Photo], seed: int) -> ReplayMemory:
    """Encodes some of the photos that were trained on, the sources taking turns.

    Args:
        predictor: the trained model.
        photos: all photos; those that are held out are passed over.
        seed: of the draw.

    Raises:
        OSError: a photo cannot be read.
    """
    places = []
    for source, count in _PHOTOS.items():
        every = [photo for photo in photos if photo.source == source and not held_out(photo)]
        drawn = Random(f"{seed}-{source}").sample(every, min(count, len(every)))
        places += [(number / len(drawn), photo.name, photo) for number, photo in enumerate(drawn)]
    features = []
    for _, _, photo in sorted(places, key=lambda place: place[:2]):
        pixels, _ = tile_image(load_image(photo.path), predictor.model.config.tile_size, 1)
        with torch.inference_mode():
            features.append(predictor.model.encode_vision(pixels.to(predictor.model.device)).cpu())
    return ReplayMemory.of(torch.cat(features))
