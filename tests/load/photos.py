"""Photos that are all different: cut-outs of the bundled samples."""

import random
from pathlib import Path

from PIL import Image

from backend.demo_project import SAMPLES

_WIDTHS = (480, 640, 800)
_QUALITY = 88


def write_photos(directory: Path, count: int) -> list[Path]:
    """Writes so many JPEG files, the same ones every time."""
    directory.mkdir(parents=True)
    samples = [Image.open(path).convert("RGB") for path in sorted(SAMPLES.glob("*.jpg"))]
    chance = random.Random(directory.name)
    paths = []
    for number in range(count):
        sample = samples[number % len(samples)]
        scale = chance.uniform(0.7, 1.0)
        width, height = round(sample.width * scale), round(sample.height * scale)
        left = chance.randint(0, sample.width - width)
        top = chance.randint(0, sample.height - height)
        wide = chance.choice(_WIDTHS)
        photo = sample.crop((left, top, left + width, top + height))
        path = directory / f"{directory.name}-{number}.jpg"
        photo.resize((wide, round(wide * height / width))).save(path, quality=_QUALITY)
        paths.append(path)
    return paths
