"""The figures that the gate judges by: a version's answers against the served one's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.gate import Comparison, GeneralMeasure, Verdict
from backend.report_pictures import Answer, HeldOutResult, reduced_mask
from backend.training_samples import PackedMask
from backend.training_set import TrainingSet
from self1e.agreement import FormerAnswers, PhotoScene, agreement, ask_former
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


@dataclass(frozen=True)
class Candidate:
    """An adapter that keeps a share of what was learned, 0..1, and what the gate says of it."""

    kept_share: float
    adapter: Path
    compared: VersionComparison
    verdict: Verdict

    def lines(self) -> list[str]:
        """For the command line."""
        truth_known = self.compared.measure == "truth"
        return [
            f"with {self.kept_share:.0%} of the change:",
            comparison_line("held-out photos", self.compared.held_out),
            comparison_line(
                "replay samples" if truth_known else "not taught", self.compared.general
            ),
            f"gate: {self.verdict}",
        ]


@dataclass(frozen=True)
class ServedAnswers:
    """What the served version answers: what others are compared with.

    Attributes:
        data: whose held-out samples were asked about.
        held_out: the figures over them, and `answers` themselves.
        truth: samples of what was not taught, and `general` the figures over them; without any
            stand for it the served version's sure answers, `former`, about held-out photos, those
            of the package, and what the model remembers.
    """

    data: TrainingSet
    held_out: Evaluation
    answers: Sequence[Answer]
    truth: Sequence[SegmentationSample]
    general: Evaluation | None
    former: Sequence[FormerAnswers]

    @classmethod
    def ask(
        cls,
        predictor: Predictor,
        data: TrainingSet,
        *,
        truth: Sequence[SegmentationSample],
        former_prompts: Sequence[str],
        memory: ReplayMemory | None,
        pause: Callable[[], None],
    ) -> "ServedAnswers":
        """Asks the served version.

        Args:
            predictor: the served version.
            data: with the held-out samples.
            truth: samples of what was not taught, or none.
            former_prompts: what earlier fine-tunings taught.
            memory: of the base model, if it has one.
            pause: called between pieces of work; returns when work may go on.

        Raises:
            SamplesError, OSError, ValueError: a photo or a mask cannot be read.
        """
        held_out, answers = evaluate_and_keep(predictor, data.held_out, pause)
        if truth:
            general = evaluate(predictor, truth, progress=False)
            return cls(data, held_out, answers, truth, general, [])
        prompts = replay_prompts({each.prompt for each in data.train}, former_prompts)
        photos = sorted({sample.image for sample in data.held_out})[:_MOST_PHOTOS]
        scenes = [PhotoScene(photo) for photo in (*photos, *SAMPLE_PHOTOS)]
        former = ask_former(predictor, scenes, prompts, count=_PROMPTS, seed=0, pause=pause)
        if memory is not None:
            former += ask_former(
                predictor, memory.apart, prompts, count=_REMEMBERED_PROMPTS, seed=0, pause=pause
            )
        return cls(data, held_out, answers, truth, None, former)

    def compare(self, predictor: Predictor, pause: Callable[[], None]) -> VersionComparison:
        """Asks another version the same.

        Args:
            predictor: the other version.
            pause: as for `ask`.

        Raises:
            SamplesError, OSError, ValueError: a photo or a mask cannot be read.
        """
        held_out, answers = evaluate_and_keep(predictor, self.data.held_out, pause)
        if self.general is not None:
            general = compare(self.general, evaluate(predictor, self.truth, progress=False))
        else:
            general = compare_pairs(
                [
                    list(zip(former.own_ious, ious, strict=True))
                    for former, ious in zip(
                        self.former, agreement(predictor, self.former, pause), strict=True
                    )
                ]
            )
        ids, labels = self.data.task_ids, self.data.labels
        return VersionComparison(
            held_out=compare(self.held_out, held_out),
            general=general,
            measure="agreement" if self.general is None else "truth",
            results=[
                HeldOutResult(sample, ids[sample.mask], labels[sample.mask], *pair)
                for sample, *pair in zip(self.data.held_out, self.answers, answers, strict=True)
            ],
        )


def first_to_pass(
    adapters: Mapping[float, Path],
    *,
    compare: Callable[[Path], VersionComparison],
    decide: Callable[[VersionComparison], Verdict],
    say: Callable[[str], None],
) -> Candidate:
    """The first adapter that the gate lets pass; if none does, the first of all.

    The next one is only tried where keeping less of the change may help.

    Args:
        adapters: by the share that they keep of what was learned, the most first.
        compare: one of them with the served version.
        decide: what the gate says of that.
        say: told each comparison, for people.
    """
    candidates = []
    for share, adapter in adapters.items():
        compared = compare(adapter)
        candidate = Candidate(share, adapter, compared, decide(compared))
        candidates.append(candidate)
        for line in candidate.lines():
            say(line)
        if candidate.verdict.passed:
            return candidate
        if not candidate.verdict.less_may_pass:
            break
    return candidates[0]


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
