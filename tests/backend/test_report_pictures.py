import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.report_pictures import (
    MOST_SHOWN,
    Answer,
    HeldOutResult,
    draw_pictures,
    most_changed,
    reduced_mask,
)
from self1e.dataset import SegmentationSample
from tests.held_out_results import held_out


def test_the_largest_changes_come_first_and_what_stayed_is_in_neither() -> None:
    changes = {"a": 0.1, "b": -0.3, "c": 0.0, "d": 0.4, "e": -0.1}
    results = [held_out(0.5, 0.5 + change, photo=name) for name, change in changes.items()]
    improved, worsened = most_changed(results)
    assert [result.sample.image.name for result in improved] == ["d", "a"]
    assert [result.sample.image.name for result in worsened] == ["b", "e"]


def test_of_a_photo_only_the_prompt_that_changed_most_is_shown() -> None:
    results = [
        held_out(0.2, 0.3, prompt="little"),
        held_out(0.2, 0.9, prompt="much"),
        held_out(0.9, 0.1, prompt="lost"),
    ]
    improved, worsened = most_changed(results)
    assert [result.sample.prompt for result in improved] == ["much"]
    assert [result.sample.prompt for result in worsened] == ["lost"]


def test_few_are_shown_of_many() -> None:
    better = [held_out(0, (1 + n) / 100, photo=f"better{n}") for n in range(50)]
    worse = [held_out(1, 1 - (1 + n) / 100, photo=f"worse{n}") for n in range(50)]
    improved, worsened = most_changed([*better, *worse])
    assert improved == better[: -MOST_SHOWN - 1 : -1]
    assert worsened == worse[: -MOST_SHOWN - 1 : -1]


def pixel(jpeg: bytes, x: int, y: int) -> tuple[int, ...]:
    value = Image.open(io.BytesIO(jpeg)).getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def test_each_picture_has_its_own_mask(tmp_path: Path) -> None:
    left, right = np.zeros((2, 600, 1200), dtype=np.bool_)
    left[:, :600] = right[:, 600:] = True
    Image.new("RGB", (1200, 600), (0, 0, 200)).save(tmp_path / "photo.png")
    Image.fromarray(right.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    sample = SegmentationSample(tmp_path / "photo.png", "it", tmp_path / "mask.png")
    before, after = (Answer(0, reduced_mask(mask)) for mask in (left, left | right))
    pictures = draw_pictures(HeldOutResult(sample, 1, "", before, after))
    marked, plain = (pytest.approx(colour, abs=12) for colour in ((128, 32, 132), (0, 0, 200)))
    assert min(pixel(pictures.before, 160, 80)) > 150  # the rim
    for jpeg, at_left, at_right in (
        (pictures.before, marked, plain),
        (pictures.after, marked, marked),
        (pictures.truth, plain, marked),
    ):
        assert Image.open(io.BytesIO(jpeg)).size == (320, 160)
        assert pixel(jpeg, 40, 80) == at_left
        assert pixel(jpeg, 280, 80) == at_right


def test_even_noise_stays_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (320, 320, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    mask = rng.integers(0, 2, (320, 320)) > 0
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    sample = SegmentationSample(tmp_path / "photo.png", "it", tmp_path / "mask.png")
    answer = Answer(0, reduced_mask(mask))
    pictures = draw_pictures(HeldOutResult(sample, 1, "", answer, answer))
    assert len(pictures.truth) < 100_000
    assert len(reduced_mask(np.ones((2000, 3000), dtype=np.bool_)).bits) < 1000
