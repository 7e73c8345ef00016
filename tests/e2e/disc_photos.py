"""Photos with a disc pasted in: something the bundled model does not know by that name."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tests.annotated import brush, typed
from tests.conftest import SAMPLES

PROMPT = "the disc"
LABEL_CONFIG = """<View>
  <Image name="image" value="$image"/>
  <TextArea name="prompt" toName="image" smartOnly="true" rows="1"
            placeholder="for example: the disc"/>
  <BrushLabels name="mask" toName="image" smart="false"><Label value="Disc"/></BrushLabels>
</View>"""

_SIZE = (320, 240)
_COLOUR = (230, 20, 200)


def disc_photo(seed: int) -> tuple[Image.Image, NDArray[np.bool_]]:
    """A sample photo with a disc on it, and the disc's mask."""
    rng = Random(seed)
    names = ("astronaut", "cat", "coffee", "photographer")
    with Image.open(SAMPLES / f"{names[seed % len(names)]}.jpg") as photo:
        picture = photo.convert("RGB").resize(_SIZE)
    radius = rng.uniform(45, 75)
    x, y = (rng.uniform(radius, side - radius) for side in _SIZE)
    box = (x - radius, y - radius, x + radius, y + radius)
    ImageDraw.Draw(picture).ellipse(box, fill=_COLOUR)
    mask = Image.new("1", _SIZE)
    ImageDraw.Draw(mask).ellipse(box, fill=1)
    return picture, np.asarray(mask)


def write_disc_photos(directory: Path, seeds: range) -> tuple[Path, ...]:
    """Writes a photo per seed, named after it."""
    paths = []
    for seed in seeds:
        path = directory / f"disc-{seed}.png"
        disc_photo(seed)[0].save(path)
        paths.append(path)
    return tuple(paths)


def annotation_results(seed: int) -> list[dict[str, Any]]:
    """What an annotator saves who asked for the disc and corrected the mask."""
    _, mask = disc_photo(seed)
    height, width = mask.shape
    region = brush(
        mask,
        "Disc",
        prompt=PROMPT,
        original_height=height,
        original_width=width,
        origin="prediction-changed",
    )
    return [region, typed(PROMPT)]
