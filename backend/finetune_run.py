"""One fine-tuning from samples to a served version: split, train, gate, publish.

All it makes until the version is published lies in `<data_dir>/finetunes/<run>`, where the run's
name is a digest of all that determines it: started again after a kill, it goes on where it was.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backend.errors import FinetuneError
from backend.finetune_lock import training_lock
from backend.gate import Comparison, GeneralMeasure, Verdict, judge, label_warning
from backend.image_embeddings import ImageSource
from backend.settings import Settings
from backend.training_samples import CollectedSamples
from backend.training_set import TrainingSet, write_training_set
from backend.version_store import ModelVersion, NewVersion, VersionStore
from backend.versions import model_version
from self1e.adapter import load_adapted
from self1e.agreement import agreement, ask_former
from self1e.checkpoint import CheckpointError
from self1e.dataset import SamplesError, SegmentationSample, read_samples
from self1e.evaluate import Evaluation, evaluate
from self1e.finetuning import FinetuneData, FinetuneRecipe, FinetuneResult, finetune
from self1e.metrics import bootstrap_interval
from self1e.predictor import Predictor
from self1e.replay import SAMPLE_PHOTOS, replay_prompts

Say = Callable[[str], None]

_MOST_REPLAY_PHOTOS = 32
_REPLAY_PROMPTS = 12
_REPLAY_HELD_OUT = 5  # every so many photos of --replay are kept for the gate


@dataclass(frozen=True)
class FinetuneOptions:
    """What the user decides."""

    replay: Path | None = None
    """A samples file of what the model must not forget; None: its own former answers."""
    margin: float = 0.02
    """Largest loss of gIoU on what was not taught, 0..1."""
    force: bool = False
    """Whether to publish whatever the gate says."""
    steps: int | None = None
    """Most training steps, None: the recipe's."""


@dataclass(frozen=True)
class FinetuneOutcome:
    """What became of it; `version` is None if the gate refused it."""

    verdict: Verdict
    version: ModelVersion | None


def run_finetune(
    settings: Settings,
    collected: CollectedSamples,
    images: ImageSource,
    options: FinetuneOptions,
    *,
    say: Say,
    pause: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda _step, _steps: None,
) -> FinetuneOutcome:
    """Trains a version and publishes it if it is better.

    Args:
        settings: of this process.
        collected: what to learn from.
        images: fetches the photos.
        options: what the user decides.
        say: told each result, for people.
        pause: called between pieces of work; returns when work may go on.
        progress: told the step and the most steps.

    Raises:
        FinetuneError: there is too little to learn from, another training runs, the model or the
            replay samples cannot be read.
        VersionError: another version came to be served meanwhile.
        OSError: the disk is full or cannot be written.
    """
    with training_lock(settings.data_dir, settings.device):
        try:
            return _Run(settings, collected, options, say, pause, progress).run(images)
        except (CheckpointError, SamplesError) as error:
            raise FinetuneError(str(error)) from error


class _Run:
    """One run: what stays the same through its steps."""

    def __init__(
        self,
        settings: Settings,
        collected: CollectedSamples,
        options: FinetuneOptions,
        say: Say,
        pause: Callable[[], None],
        progress: Callable[[int, int], None],
    ) -> None:
        self._settings = settings
        self._collected = collected
        self._options = options
        self._say = say
        self._pause = pause
        self._progress = progress
        self._store = VersionStore(settings.data_dir, model_version(settings.model))
        self._parent = self._store.current()
        self._parent_adapter = self._store.adapter(self._parent)
        before = self._store.read(self._parent)
        self._former_prompts = () if before is None else before.prompts
        self._replay = [] if options.replay is None else read_samples(options.replay)
        changes = {} if options.steps is None else {"steps": options.steps}
        base = self._load(None)
        self._recipe = FinetuneRecipe.of_model(base.model, **changes)
        self._base: Predictor | None = base
        self._name = self._digest()
        self._directory = settings.data_dir / "finetunes" / self._name

    def run(self, images: ImageSource) -> FinetuneOutcome:
        self._say(f"run {self._name}: from {self._parent}")
        data = write_training_set(
            self._collected.samples,
            images,
            self._directory / "data",
            max_megapixels=self._settings.max_image_megapixels,
            pause=self._pause,
        )
        self._say(
            f"samples: {len(data.train)} to learn, {len(data.validation)} that say when to stop, "
            f"{len(data.held_out)} held out"
        )
        for reason, left_out in data.left_out.items():
            self._say(f"left out: {left_out.count} {reason}")
        result = self._train(data)
        held_out, general, measure = self._compare(data, result.adapter)
        verdict = judge(
            held_out,
            general,
            measure=measure,
            margin=self._options.margin,
            warning=label_warning(data.frame_shares),
        )
        self._say(_row("held-out photos", held_out))
        self._say(_row("not taught" if measure == "agreement" else "replay samples", general))
        self._say(f"gate: {verdict}")
        version = None
        if verdict.passed or self._options.force:
            version = self._publish(data, result, held_out, general, measure, verdict)
            self._say(f"published: {version.name}" + (" (forced)" if version.forced else ""))
            shutil.rmtree(self._directory)
        else:
            self._say(f"not published: {self._parent} goes on being served")
        return FinetuneOutcome(verdict, version)

    def _train(self, data: TrainingSet) -> FinetuneResult:
        assert self._base is not None
        replay = [sample for at, group in _by_photo(self._replay) for sample in group if at]
        result = finetune(
            self._base,
            FinetuneData(data.train, data.validation, replay, self._former_prompts),
            self._directory,
            self._recipe,
            parent=self._parent_adapter,
            pause=self._pause,
            progress=self._progress,
        )
        self._base = None  # its memory is needed for the comparison
        losses = [entry["eval_loss"] for entry in result.history if "eval_loss" in entry]
        steps = max(int(entry["step"]) for entry in result.history)
        self._say(f"trained: {steps} steps, validation loss {losses[0]:.3f} -> {min(losses):.3f}")
        return result

    def _compare(
        self, data: TrainingSet, adapter: Path
    ) -> tuple[Comparison, Comparison, GeneralMeasure]:
        """On the held-out photos, and on what was not taught; one model at a time in memory."""
        replay = [sample for at, group in _by_photo(self._replay) for sample in group if not at]
        photos = sorted({sample.image for sample in data.held_out})[:_MOST_REPLAY_PHOTOS]
        prompts = replay_prompts({each.prompt for each in data.train}, self._former_prompts)
        before = self._load(self._parent_adapter)
        held_out_before = self._evaluate(before, data.held_out)
        if replay:
            general_before = self._evaluate(before, replay)
        else:
            former = ask_former(
                before, [*photos, *SAMPLE_PHOTOS], prompts, count=_REPLAY_PROMPTS, seed=0
            )
        del before
        after = self._load(adapter)
        held_out = _compared(held_out_before, self._evaluate(after, data.held_out))
        if replay:
            return held_out, _compared(general_before, self._evaluate(after, replay)), "truth"
        pairs = [
            list(zip(answers.own_ious, ious, strict=True))
            for answers, ious in zip(former, agreement(after, former), strict=True)
        ]
        return held_out, _compare_pairs(pairs), "agreement"

    def _evaluate(self, predictor: Predictor, samples: Any) -> Evaluation:
        self._pause()
        return evaluate(predictor, samples, progress=False)

    def _publish(
        self,
        data: TrainingSet,
        result: FinetuneResult,
        held_out: Comparison,
        general: Comparison,
        measure: GeneralMeasure,
        verdict: Verdict,
    ) -> ModelVersion:
        taught = {sample.prompt for sample in (*data.train, *data.validation, *data.held_out)}

        def write_adapter(directory: Path) -> None:
            shutil.copytree(result.adapter, directory, dirs_exist_ok=True)

        return self._store.publish(
            NewVersion(
                parent=self._parent,
                fingerprint=self._collected.fingerprint,
                run=self._name,
                verdict=str(verdict),
                write_adapter=write_adapter,
                forced=not verdict.passed,
                prompts=tuple(sorted(taught | set(self._former_prompts))),
                metrics={
                    "held_out": asdict(held_out),
                    "general": asdict(general),
                    "general_measure": measure,
                    "margin": self._options.margin,
                    "samples": {
                        "train": len(data.train),
                        "validation": len(data.validation),
                        "held_out": len(data.held_out),
                    },
                    "recipe": asdict(self._recipe),
                    "history": result.history,
                },
            )
        )

    def _load(self, adapter: Path | None) -> Predictor:
        return load_adapted(
            self._settings.model,
            adapter,
            device=self._settings.device,
            dtype=self._settings.dtype,
            max_tiles=self._settings.max_tiles,
        )

    def _digest(self) -> str:
        replay = self._options.replay
        identity = [
            self._collected.fingerprint,
            self._parent,
            asdict(self._recipe),
            self._settings.max_tiles,
            "" if replay is None else replay.read_text(encoding="utf-8"),
        ]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def _by_photo(
    samples: list[SegmentationSample],
) -> list[tuple[int, list[SegmentationSample]]]:
    """Samples by photo; 0 stands before those that are kept for the gate."""
    photos: dict[Path, list[SegmentationSample]] = {}
    for sample in samples:
        photos.setdefault(sample.image, []).append(sample)
    return [(at % _REPLAY_HELD_OUT, group) for at, group in enumerate(photos.values())]


def _compared(before: Evaluation, after: Evaluation) -> Comparison:
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


def _compare_pairs(pairs: list[list[tuple[float, float]]]) -> Comparison:
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


def _interval(pairs: list[list[tuple[float, float]]]) -> tuple[float, float]:
    return bootstrap_interval([[after - before for before, after in group] for group in pairs])


def _row(title: str, compared: Comparison) -> str:
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
