"""The scene that recorded tasks show, a model that sees its colours, and a server for its file."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tests.web_server import Reply, web_server

COLOURS = {"red": (220, 30, 30), "blue": (30, 60, 220)}


def scene() -> Image.Image:
    """A red square and a blue disc on grey."""
    image = Image.new("RGB", (64, 48), (200, 200, 200))
    draw = ImageDraw.Draw(image)
    draw.rectangle((6, 8, 29, 27), fill=COLOURS["red"])
    draw.ellipse((36, 20, 58, 42), fill=COLOURS["blue"])
    return image


def colour_mask(rgb: NDArray[np.uint8], prompt: str) -> NDArray[np.bool_]:
    """The pixels, bool (H, W), of the colours whose names are in the prompt."""
    mask = np.zeros(rgb.shape[:2], dtype=np.bool_)
    for name, colour in COLOURS.items():
        if name in prompt.lower():
            mask |= (rgb == colour).all(axis=2)
    return mask


@contextmanager
def scene_server() -> Iterator[str]:
    """Serves the scene at every path; gives the server's url."""
    buffer = io.BytesIO()
    scene().save(buffer, "PNG")
    with web_server(lambda _: Reply(body=buffer.getvalue())) as server:
        yield server.url


@dataclass(frozen=True)
class Pixels:
    """All that the model knows of an image: uint8 (H, W, 3)."""

    rgb: NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        return self.rgb.nbytes


@dataclass(frozen=True)
class ColourMask:
    mask: NDArray[np.bool_]
    score: float


class ColourPredictor:
    """Segments the colour that the prompt names."""

    def encode_images(self, images: Iterator[Image.Image]) -> list[Pixels]:
        return [Pixels(np.asarray(image)) for image in images]

    def segment(
        self, embedding: Pixels, prompts: Sequence[str], *, threshold: float
    ) -> list[ColourMask]:
        return [ColourMask(colour_mask(embedding.rgb, prompt), 0.75) for prompt in prompts]
