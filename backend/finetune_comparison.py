"""The figures that the gate judges by: a version's answers against the served one's."""

from collections.abc import Sequence
from pathlib import Path

from backend.gate import Comparison
from backend.report_pictures import Answer, reduced_mask
from backend.training_samples import PackedMask
from self1e.dataset import SegmentationSample
from self1e.evaluate import Evaluation, evaluate
from self1e.metrics import bootstrap_interval
from self1e.predictor import Predictor


def evaluate_and_keep(
    predictor: Predictor, samples: Sequence[SegmentationSample]
) -> tuple[Evaluation, list[Answer]]:
    """The figures over samples, and what was answered to each.

    Raises:
        SamplesError, OSError, ValueError: as `evaluate`.
    """
    masks: list[PackedMask] = []
    evaluation = evaluate(
        predictor, samples, progress=False, seen=lambda mask: masks.append(reduced_mask(mask))
    )
    answers = [Answer(each.iou, mask) for each, mask in zip(evaluation.results, masks, strict=True)]
    return evaluation, answers


def compare(before: Evaluation, after: Evaluation) -> Comparison:
    """Of two versions on the same samples, whose truth is known."""
    pairs: dict[Path, list[tuple[float, float]]] = {}
    for old, new in zip(before.results, after.results, strict=True):
        pairs.setdefault(old.sample.image, []).append((old.iou, new.iou))
    low, high = _interval(list(pairs.values()))
    return Comparison(
        photos=len(pairs),
        samples=before.metrics.samples,
        giou_before=before.metrics.giou,
        giou_after=after.metrics.giou,
        low=low,
        high=high,
        ciou_before=before.metrics.ciou,
        ciou_after=after.metrics.ciou,
    )


def compare_pairs(pairs: Sequence[Sequence[tuple[float, float]]]) -> Comparison:
    """Of IoUs before and after, by photo."""
    every = [pair for group in pairs for pair in group]
    low, high = _interval(pairs)
    return Comparison(
        photos=len(pairs),
        samples=len(every),
        giou_before=sum(before for before, _ in every) / len(every),
        giou_after=sum(after for _, after in every) / len(every),
        low=low,
        high=high,
    )


def _interval(pairs: Sequence[Sequence[tuple[float, float]]]) -> tuple[float, float]:
    return bootstrap_interval([[after - before for before, after in group] for group in pairs])


def comparison_line(title: str, compared: Comparison) -> str:
    """A comparison for the command line."""
    ciou = (
        ""
        if compared.ciou_before is None
        else f", cIoU {compared.ciou_before:.3f} -> {compared.ciou_after:.3f}"
    )
    return (
        f"{title}: gIoU {compared.giou_before:.3f} -> {compared.giou_after:.3f} "
        f"({compared.difference:+.3f}, 95 % between {compared.low:+.3f} and {compared.high:+.3f})"
        f"{ciou}; {compared.samples} prompts about {compared.photos} photos"
    )
