import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.errors import FinetuneError, ImageError
from backend.training_samples import PackedMask, TrainingSample
from backend.training_set import split_photos, write_training_set
from tests.taught_photos import square_photo


def digests(count: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]


def test_a_fifth_is_held_out_and_a_tenth_says_when_to_stop() -> None:
    held_out, validation, train = split_photos(digests(400))
    assert len(held_out) == pytest.approx(80, abs=20)
    assert len(validation) == 40
    assert sorted([*held_out, *validation, *train]) == sorted(digests(400))


def test_a_photo_that_was_trained_on_is_never_held_out_later() -> None:
    trained: set[str] = set()
    for count in range(10, 200, 7):
        held_out, _, train = split_photos(digests(count))
        assert len(held_out) >= 5
        assert not trained & set(held_out)
        trained |= set(train)


class Photos:
    """Images by the number in their url; those of task 3 and 13 are the same, that of 7 is gone."""

    def fetch(self, url: str, *, task_id: int | str | None = None) -> bytes:
        number = int(url)
        if number == 7:
            raise ImageError("It is gone.")
        photo, _ = square_photo(3 if number == 13 else number)
        buffer = io.BytesIO()
        photo.save(buffer, "PNG")
        return buffer.getvalue()


def sample(number: int) -> TrainingSample:
    mask = square_photo(3 if number == 13 else number)[1]
    if number == 9:
        mask = mask[:-1]  # made for another image
    packed = PackedMask.pack(mask)
    return TrainingSample(number, str(number), "the square", "Square", "accepted", packed)


def test_photos_and_masks_are_written_and_what_is_wrong_is_counted(tmp_path: Path) -> None:
    made = write_training_set(
        [sample(number) for number in range(16)], Photos(), tmp_path, max_megapixels=1
    )
    every = [*made.train, *made.validation, *made.held_out]
    assert len(every) == 14
    # One photo in two tasks is on one side.
    assert len({each.image for each in every}) == 13
    sides = [{each.image for each in side} for side in (made.train, made.validation, made.held_out)]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert sorted(left_out.count for left_out in made.left_out.values()) == [1, 1]
    assert {left_out.task_ids for left_out in made.left_out.values()} == {(7,), (9,)}
    for each in every:
        truth = each.load_mask()
        assert made.labels[each.mask] == "Square"
        with Image.open(each.image) as photo:
            pixels = np.asarray(photo)
        assert pixels.shape[:2] == truth.shape
        assert pixels[truth].mean() > 2 * pixels[~truth].mean()
    assert len(made.frame_shares) == 14


def test_large_photos_are_reduced_with_their_masks(tmp_path: Path) -> None:
    class Large:
        def fetch(self, url: str, *, task_id: int | str | None = None) -> bytes:
            buffer = io.BytesIO()
            Image.new("L", (4000, 300), int(url)).save(buffer, "PNG")
            return buffer.getvalue()

    mask = np.zeros((300, 4000), dtype=np.bool_)
    mask[:, :2000] = True
    samples = [
        TrainingSample(number, str(number), "left", "", "drawn", PackedMask.pack(mask))
        for number in range(10)
    ]
    made = write_training_set(samples, Large(), tmp_path, max_megapixels=2)
    written = made.train[0].load_mask()
    assert written.shape == (154, 2048)
    assert written[:, :1024].all()
    assert not written[:, 1025:].any()


def test_too_few_photos_are_refused() -> None:
    with pytest.raises(FinetuneError, match="There are 9 annotated photos"):
        split_photos(digests(9))
