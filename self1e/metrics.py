"""gIoU and cIoU of predicted masks (paper section 4; method of the referring benchmarks)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def iou(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks (H, W), 0..1; 1 if both are empty."""
    union = int(np.count_nonzero(predicted | truth))
    return int(np.count_nonzero(predicted & truth)) / union if union else 1.0


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation, -1..1, equal values sharing their mean rank; 0 if undefined."""
    ranks = [_ranks(np.asarray(values, dtype=np.float64)) for values in (first, second)]
    deviations = [values - values.mean() for values in ranks]
    scale = float(np.prod([np.linalg.norm(values) for values in deviations]))
    return float(deviations[0] @ deviations[1]) / scale if scale else 0.0


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray(mean_ranks[place], dtype=np.float64)


@dataclass(frozen=True)
class SegmentationMetrics:
    """Figures over a set of samples.

    Attributes:
        samples: how many.
        giou: mean of the samples' IoU; an empty target predicted empty counts 1.
        ciou: summed intersection over summed union, 1 if all is empty.
    """

    samples: int
    giou: float
    ciou: float


class MetricsAccumulator:
    """Collects samples one by one, so that no mask is kept."""

    def __init__(self) -> None:
        self.ious: list[float] = []
        self._intersection = 0
        self._union = 0

    def add(self, predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
        """Adds a sample, bool (H, W) each, and returns its IoU.

        Raises:
            ValueError: the masks differ in size.
        """
        if predicted.shape != truth.shape:
            raise ValueError(f"The mask is {predicted.shape}, the ground truth {truth.shape}")
        self.ious.append(iou(predicted, truth))
        self._intersection += int(np.count_nonzero(predicted & truth))
        self._union += int(np.count_nonzero(predicted | truth))
        return self.ious[-1]

    def result(self) -> SegmentationMetrics:
        """The figures so far.

        Raises:
            ValueError: there is no sample.
        """
        if not self.ious:
            raise ValueError("There are no samples to evaluate")
        ciou = self._intersection / self._union if self._union else 1.0
        return SegmentationMetrics(len(self.ious), float(np.mean(self.ious)), ciou)


def bootstrap_interval(
    groups: Sequence[Sequence[float]], *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean of all values, drawing whole groups with replacement.

    Args:
        groups: values that belong together, such as the differences on one photo; none is empty.
        resamples: how often groups are drawn.
        level: share of the means inside the interval, 0..1.
        seed: of the draws.

    Raises:
        ValueError: there is no group.
    """
    if not groups:
        raise ValueError("There are no samples to compare")
    sums = np.array([sum(group) for group in groups])
    counts = np.array([len(group) for group in groups])
    drawn = np.random.default_rng(seed).integers(0, len(groups), (resamples, len(groups)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
