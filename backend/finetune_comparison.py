"""The figures that the gate judges by: a version's answers against the served one's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.gate import Comparison, GeneralMeasure
from backend.report_pictures import Answer, HeldOutResult, reduced_mask
from backend.training_samples import PackedMask
from backend.training_set import TrainingSet
from self1e.agreement import PhotoScene, agreement, ask_former
from self1e.dataset import SegmentationSample
from self1e.evaluate import Evaluation, evaluate
from self1e.metrics import bootstrap_interval
from self1e.predictor import Predictor
from self1e.replay import SAMPLE_PHOTOS, replay_prompts
from self1e.replay_memory import ReplayMemory

_MOST_PHOTOS = 32
_PROMPTS = 20
_REMEMBERED_PROMPTS = 40  # they are few, and stand for all that is not in the project


@dataclass(frozen=True)
class VersionComparison:
    """A new version against the served one, and the answers of both to each held-out sample."""

    held_out: Comparison
    general: Comparison
    measure: GeneralMeasure
    results: Sequence[HeldOutResult]


def compare_versions(
    load: Callable[[Path | None], Predictor],
    before: Path | None,
    after: Path,
    data: TrainingSet,
    *,
    truth: Sequence[SegmentationSample],
    former_prompts: Sequence[str],
    memory: ReplayMemory | None,
    pause: Callable[[], None],
) -> VersionComparison:
    """Asks one version and then the other; only one model is in memory at a time.

    Args:
        load: makes the predictor of an adapter, None: of the base model.
        before: the adapter that is served.
        after: the new one.
        data: whose held-out samples are asked about.
        truth: samples of what was not taught; without any, the served version's own answers about
            held-out photos, those of the package and what the model remembers stand for it.
        former_prompts: what earlier fine-tunings taught.
        memory: of the base model, if it has one.
        pause: called between pieces of work; returns when work may go on.

    Raises:
        SamplesError, OSError, ValueError: a photo or a mask cannot be read.
    """
    photos = sorted({sample.image for sample in data.held_out})[:_MOST_PHOTOS]
    prompts = replay_prompts({each.prompt for each in data.train}, former_prompts)
    predictor = load(before)
    pause()
    held_out_before, answers_before = evaluate_and_keep(predictor, data.held_out, pause)
    if truth:
        general_before = evaluate(predictor, truth, progress=False)
    else:
        scenes = [PhotoScene(photo) for photo in (*photos, *SAMPLE_PHOTOS)]
        former = ask_former(predictor, scenes, prompts, count=_PROMPTS, seed=0, pause=pause)
        if memory is not None:
            former += ask_former(
                predictor, memory.apart, prompts, count=_REMEMBERED_PROMPTS, seed=0, pause=pause
            )
    del predictor
    predictor = load(after)
    pause()
    held_out_after, answers_after = evaluate_and_keep(predictor, data.held_out, pause)
    if truth:
        general = compare(general_before, evaluate(predictor, truth, progress=False))
    else:
        general = compare_pairs(
            [
                list(zip(answers.own_ious, ious, strict=True))
                for answers, ious in zip(former, agreement(predictor, former, pause), strict=True)
            ]
        )
    return VersionComparison(
        held_out=compare(held_out_before, held_out_after),
        general=general,
        measure="truth" if truth else "agreement",
        results=[
            HeldOutResult(sample, data.task_ids[sample.mask], data.labels[sample.mask], *pair)
            for sample, *pair in zip(data.held_out, answers_before, answers_after, strict=True)
        ],
    )


def evaluate_and_keep(
    predictor: Predictor,
    samples: Sequence[SegmentationSample],
    pause: Callable[[], None] = lambda: None,
) -> tuple[Evaluation, list[Answer]]:
    """The figures over samples, and what was answered to each; pauses after every answer.

    Raises:
        SamplesError, OSError, ValueError: as `evaluate`.
    """
    masks: list[PackedMask] = []

    def keep(mask: NDArray[np.bool_]) -> None:
        masks.append(reduced_mask(mask))
        pause()

    evaluation = evaluate(predictor, samples, progress=False, seen=keep)
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
