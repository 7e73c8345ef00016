from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from backend.errors import AnnotationError
from backend.training_samples import (
    CollectedSamples,
    LeftOut,
    LeftOutTally,
    PackedMask,
    TrainingSample,
    sorted_samples,
)

MASK = np.eye(3, 5, dtype=np.bool_)
SAMPLE = TrainingSample(7, "a.png", "the cat", "Cat", "accepted", PackedMask.pack(MASK))


@given(mask=arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_packed_masks_come_back(mask: NDArray[np.bool_]) -> None:
    packed = PackedMask.pack(mask)
    unpacked = packed.unpack()
    assert unpacked.dtype == np.bool_
    np.testing.assert_array_equal(unpacked, mask)


def test_a_mask_of_twelve_megapixels_takes_little_memory() -> None:
    rows, columns = np.mgrid[:3000, :4000]
    disc = (rows - 1500) ** 2 + (columns - 2000) ** 2 < 1200**2
    assert len(PackedMask.pack(disc).bits) < 50_000


def test_a_mask_is_for_images_of_its_size() -> None:
    np.testing.assert_array_equal(SAMPLE.mask(3, 5), MASK)
    with pytest.raises(AnnotationError, match="task 7 is 5 x 3, but its image 3 x 5"):
        SAMPLE.mask(5, 3)


def test_a_negative_is_empty_in_any_size() -> None:
    negative = replace(SAMPLE, kind="negative", packed=None)
    assert negative.mask(4, 6).shape == (4, 6)
    assert not negative.mask(4, 6).any()


def collected(*samples: TrainingSample) -> CollectedSamples:
    return CollectedSamples(samples, {}, len(samples), "the latest")


CHANGES = [
    replace(SAMPLE, task_id=8),
    replace(SAMPLE, image_url="b.png"),
    replace(SAMPLE, prompt="the ca", label="tCat"),
    replace(SAMPLE, label="Dog"),
    replace(SAMPLE, kind="drawn"),
    replace(SAMPLE, packed=None),
    replace(SAMPLE, packed=PackedMask.pack(~MASK)),
    replace(SAMPLE, packed=PackedMask.pack(MASK.reshape(5, 3))),
]


def test_the_fingerprint_is_of_all_that_is_learned_but_not_of_the_order() -> None:
    prints = {collected(each).fingerprint for each in [SAMPLE, *CHANGES]}
    assert len(prints) == 1 + len(CHANGES)
    assert collected(*CHANGES).fingerprint == collected(*CHANGES[::-1]).fingerprint
    assert collected(SAMPLE, SAMPLE).fingerprint != collected(SAMPLE).fingerprint


def test_samples_are_sorted_by_task_prompt_and_label() -> None:
    wanted = (
        replace(SAMPLE, task_id=6, prompt="z"),
        replace(SAMPLE, prompt="a", label="z"),
        SAMPLE,
        replace(SAMPLE, label="Dog"),
    )
    assert sorted_samples(wanted[::-1]) == wanted


def test_what_is_left_out_is_counted_by_reason_and_names_the_first_tasks() -> None:
    tally = LeftOutTally()
    for task_id in (3, 3, *range(20)):
        tally.add("empty", task_id)
    tally.add("cancelled", 1)
    tally.add("without an id", None)
    assert tally.left_out() == {
        "empty": LeftOut(22, (3, 0, 1, 2, 4, 5, 6, 7, 8, 9)),
        "cancelled": LeftOut(1, (1,)),
        "without an id": LeftOut(1, ()),
    }
    assert next(iter(tally.left_out())) == "empty"
