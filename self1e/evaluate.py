"""Evaluation of a model on samples, by the published protocol (paper section 4)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from self1e.dataset import SegmentationSample
from self1e.image import load_image
from self1e.metrics import MetricsAccumulator, SegmentationMetrics
from self1e.predictor import Predictor


@dataclass(frozen=True)
class SampleResult:
    """How one sample went.

    Attributes:
        sample: what was asked.
        iou: of mask and ground truth, 0..1.
        score: the model's own, 0..1.
        empty: whether the model found nothing among the pixels that count.
    """

    sample: SegmentationSample
    iou: float
    score: float
    empty: bool


@dataclass(frozen=True)
class Evaluation:
    """Figures over all samples, and each sample's."""

    metrics: SegmentationMetrics
    results: tuple[SampleResult, ...]


def evaluate(
    predictor: Predictor,
    samples: Sequence[SegmentationSample],
    *,
    progress: bool = True,
    seen: Callable[[NDArray[np.bool_]], None] = lambda _mask: None,
) -> Evaluation:
    """Segments every sample and compares; neighbours of one image are encoded once.

    Args:
        predictor: the model.
        samples: what to ask.
        progress: whether to show a progress bar.
        seen: given each sample's mask, bool (H, W), of the pixels that count; none is kept here.

    Raises:
        SamplesError: a ground truth cannot be read.
        OSError: an image cannot be read.
        ValueError: there are no samples, or a mask has another size than its image.
    """
    accumulator = MetricsAccumulator()
    results = []
    with tqdm(total=len(samples), desc="evaluate", unit="sample", disable=not progress) as bar:
        for result in _results(predictor, samples, accumulator, seen):
            results.append(result)
            bar.update()
            bar.set_postfix(giou=f"{accumulator.result().giou:.3f}", refresh=False)
    return Evaluation(accumulator.result(), tuple(results))


def _results(
    predictor: Predictor,
    samples: Sequence[SegmentationSample],
    accumulator: MetricsAccumulator,
    seen: Callable[[NDArray[np.bool_]], None],
) -> Iterator[SampleResult]:
    for path, group in groupby(samples, key=lambda sample: sample.image):
        about_image = list(group)
        embedding = predictor.encode_image(load_image(path))
        found = predictor.segment(embedding, [sample.prompt for sample in about_image])
        for sample, segmentation in zip(about_image, found, strict=True):
            mask, truth = segmentation.mask, sample.load_mask()
            counted = sample.load_counted()
            if counted is not None:
                mask, truth = mask & counted, truth & counted
            seen(mask)
            yield SampleResult(
                sample, accumulator.add(mask, truth), segmentation.score, not mask.any()
            )
