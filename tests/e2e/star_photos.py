"""Photos with a star pasted in: something the bundled model does not know by that name."""

import math
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tests.annotated import brush, typed
from tests.conftest import SAMPLES

PROMPT = "the star"
LABEL_CONFIG = """<View>
  <Image name="image" value="$image"/>
  <TextArea name="prompt" toName="image" smartOnly="true" rows="1"
            placeholder="for example: the star"/>
  <BrushLabels name="mask" toName="image" smart="false"><Label value="Star"/></BrushLabels>
</View>"""

_SIZE = (320, 240)
_POINTS = 5
_INNER = 0.45  # of the outer radius


def star_photo(seed: int) -> tuple[Image.Image, NDArray[np.bool_]]:
    """A part of a sample photo with a star on it, and the star's mask."""
    rng = Random(seed)
    names = ("astronaut", "cat", "coffee", "photographer")
    with Image.open(SAMPLES / f"{names[seed % len(names)]}.jpg") as photo:
        picture = photo.convert("RGB").resize(_SIZE)
    radius = rng.uniform(35, 60)
    x, y = (rng.uniform(radius, side - radius) for side in _SIZE)
    turn = rng.uniform(0, 2 * math.pi)
    outline = []
    for corner in range(2 * _POINTS):
        reach = radius * (_INNER if corner % 2 else 1)
        angle = turn + corner * math.pi / _POINTS
        outline.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    colour = tuple(rng.randrange(170, 256) if each else rng.randrange(60) for each in (1, 1, 0))
    ImageDraw.Draw(picture).polygon(outline, fill=colour)
    mask = Image.new("1", _SIZE)
    ImageDraw.Draw(mask).polygon(outline, fill=1)
    return picture, np.asarray(mask)


def write_star_photos(directory: Path, seeds: range) -> tuple[Path, ...]:
    """Writes a photo per seed, named after it."""
    paths = []
    for seed in seeds:
        path = directory / f"star-{seed}.png"
        star_photo(seed)[0].save(path)
        paths.append(path)
    return tuple(paths)


def annotation_results(seed: int) -> list[dict[str, Any]]:
    """What an annotator saves who asked for the star and corrected the mask."""
    _, mask = star_photo(seed)
    height, width = mask.shape
    region = brush(
        mask,
        "Star",
        prompt=PROMPT,
        original_height=height,
        original_width=width,
        origin="prediction-changed",
    )
    return [region, typed(PROMPT)]
