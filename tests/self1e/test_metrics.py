import numpy as np
import pytest
from numpy.typing import NDArray

from self1e.metrics import MetricsAccumulator, SegmentationMetrics, iou


def mask(*pixels: int, size: int = 10) -> NDArray[np.bool_]:
    flat = np.zeros((1, size), dtype=np.bool_)
    flat[0, list(pixels)] = True
    return flat


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        (mask(1, 2, 3), mask(2, 3, 4), 2 / 4),
        (mask(1), mask(2), 0.0),
        (mask(1, 2), mask(1, 2), 1.0),
        (mask(), mask(), 1.0),
        (mask(1), mask(), 0.0),
        (mask(), mask(1), 0.0),
    ],
)
def test_iou(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], expected: float) -> None:
    assert iou(predicted, truth) == expected


def test_giou_averages_samples_and_ciou_sums_pixels() -> None:
    metrics = MetricsAccumulator()
    assert metrics.add(mask(0, 1, 2, 3, 4, 5, 6, 7), mask(0, 1, 2, 3, 4, 5, 6, 7)) == 1
    assert metrics.add(mask(1), mask(2)) == 0
    assert metrics.add(mask(), mask()) == 1
    assert metrics.result() == SegmentationMetrics(samples=3, giou=2 / 3, ciou=8 / 10)


def test_nothing_but_empty_masks_is_perfect() -> None:
    metrics = MetricsAccumulator()
    metrics.add(mask(), mask())
    assert metrics.result() == SegmentationMetrics(samples=1, giou=1.0, ciou=1.0)


def test_masks_of_two_sizes_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"mask is \(1, 10\), the ground truth \(1, 9\)"):
        MetricsAccumulator().add(mask(1), mask(1, size=9))


def test_no_samples_are_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        MetricsAccumulator().result()
