from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from self1e.dataset import SamplesError, SegmentationSample
from self1e.taught_views import PhotoLesson, lessons, make_view, names_a_side
from tests.taught_photos import write_samples

TILE = 56


@pytest.mark.parametrize(
    "prompt",
    ["the front left door", "the dog on the right", "Rightmost cup", "die linke Tür", "左边的狗"],
)
def test_sides_are_noticed(prompt: str) -> None:
    assert names_a_side(prompt)


@pytest.mark.parametrize("prompt", ["the bright lamp", "the copyright sign", "the wheel", "uplift"])
def test_words_that_only_look_like_sides_are_not(prompt: str) -> None:
    assert not names_a_side(prompt)


def centre(view_masks: torch.Tensor) -> float:
    """Mean column of a mask, 0..1."""
    columns = torch.linspace(0, 1, view_masks.shape[-1])
    mask = view_masks[0].float()
    return float((mask * columns).sum() / mask.sum())


def test_the_plain_view_is_the_photo_as_the_model_sees_it(tmp_path: Path) -> None:
    (lesson,) = lessons(write_samples(tmp_path, range(1)))
    view = make_view(lesson, Random(0), TILE, 1, augment=False)
    assert view.pixel_values.shape == (1, 3, TILE, TILE)
    assert view.grid == (1, 1)
    assert view.masks.shape == (1, 128, 128)
    truth = lesson.samples[0].load_mask()
    assert (view.masks[0] > 127).float().mean() == pytest.approx(truth.mean(), abs=0.02)
    assert view.counted.all()


def test_masks_follow_the_pixels_however_the_view_is_changed(tmp_path: Path) -> None:
    taught = lessons(write_samples(tmp_path, range(4)))
    mirrored = 0
    for lesson in taught:
        plain = make_view(lesson, Random(0), TILE, 2, augment=False)
        for seed in range(6):
            view = make_view(lesson, Random(seed), TILE, 2, augment=True)
            mask = view.masks[0] > 127
            rows, cols = view.grid
            tiles = view.pixel_values.reshape(rows, cols, 3, TILE, TILE)
            pixels = tiles.permute(2, 0, 3, 1, 4).reshape(3, rows * TILE, cols * TILE)
            light = torch.nn.functional.interpolate(pixels[None], size=mask.shape)[0].mean(dim=0)
            assert light[mask].mean() > light[~mask].mean() + 0.5
            mirrored += abs(centre(view.masks) - (1 - centre(plain.masks))) < 0.05
    assert mirrored > 0


def test_a_photo_with_a_side_in_a_prompt_is_never_mirrored(tmp_path: Path) -> None:
    photo, left = tmp_path / "photo.png", tmp_path / "left.png"
    pixels = np.zeros((72, 96, 3), dtype=np.uint8)
    pixels[:, :48] = 255
    Image.fromarray(pixels).save(photo)
    Image.fromarray(pixels[..., 0]).save(left)
    sample = SegmentationSample(photo, "the left half", left)
    lesson = PhotoLesson(photo, (sample,))
    for seed in range(20):
        assert centre(make_view(lesson, Random(seed), TILE, 1, augment=True).masks) < 0.5
    without = PhotoLesson(photo, (replace(sample, prompt="the white half"),))
    views = [make_view(without, Random(seed), TILE, 1, augment=True) for seed in range(20)]
    assert any(centre(view.masks) > 0.5 for view in views)


def test_what_a_crop_cuts_away_is_not_asked_for_and_what_was_never_there_is(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (96, 72)).save(photo)
    corner, nothing = np.zeros((72, 96), dtype=np.uint8), np.zeros((72, 96), dtype=np.uint8)
    corner[:6, :6] = 255
    paths = [tmp_path / "corner.png", tmp_path / "nothing.png"]
    for path, mask in zip(paths, (corner, nothing), strict=True):
        Image.fromarray(mask).save(path)
    lesson = PhotoLesson(
        photo,
        (
            SegmentationSample(photo, "the corner", paths[0]),
            SegmentationSample(photo, "the dog", paths[1]),
        ),
    )
    asked = [make_view(lesson, Random(seed), TILE, 1, augment=True).prompts for seed in range(20)]
    assert all("the dog" in prompts for prompts in asked)
    assert 0 < sum("the corner" in prompts for prompts in asked) < 20


def test_pixels_that_do_not_count_follow_too(tmp_path: Path) -> None:
    (sample,) = write_samples(tmp_path, range(1))
    lesson = PhotoLesson(sample.image, (replace(sample, ignore=sample.mask),))
    view = make_view(lesson, Random(1), TILE, 1, augment=True)
    assert not view.counted[view.masks[0] > 160].any()
    assert view.counted[view.masks[0] < 60].all()


def test_a_photo_without_samples_is_shown_too(tmp_path: Path) -> None:
    (sample,) = write_samples(tmp_path, range(1))
    view = make_view(PhotoLesson(sample.image, ()), Random(1), TILE, 1, augment=True)
    assert view.masks.shape == (0, 128, 128)
    assert view.prompts == ()


def test_a_mask_of_another_size_is_an_error_that_names_it(tmp_path: Path) -> None:
    (sample,) = write_samples(tmp_path, range(1))
    Image.new("L", (10, 10)).save(sample.mask)
    with pytest.raises(SamplesError, match="0-mask"):
        make_view(PhotoLesson(sample.image, (sample,)), Random(1), TILE, 1, augment=False)
