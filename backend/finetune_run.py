"""One fine-tuning from samples to a served version: split, train, gate, publish.

All it makes until the version is published lies in `<data_dir>/finetunes/<run>`, where the run's
name is a digest of all that determines it: started again after a kill, it goes on where it was.
Published or refused, it leaves a report in `<data_dir>/reports`.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from backend.errors import FinetuneError, VersionError
from backend.finetune_comparison import Candidate, ServedAnswers, first_to_pass
from backend.finetune_lock import training_lock
from backend.finetune_record import run_report, version_metrics
from backend.finetune_report import FinetuneReport, report_html
from backend.gate import Verdict, judge, label_warning
from backend.image_embeddings import ImageSource
from backend.report_store import ReportStore, RunRecord
from backend.settings import Settings
from backend.training_group import SharedTraining, own_device, share
from backend.training_samples import CollectedSamples
from backend.training_set import TrainingSet, write_training_set
from backend.version_store import ModelVersion, NewVersion, VersionStore
from backend.versions import model_version
from self1e.adapter import load_adapted
from self1e.checkpoint import CheckpointError, device_name
from self1e.dataset import SamplesError, SegmentationSample, read_samples
from self1e.finetune_recipe import FinetuneRecipe
from self1e.finetune_views import FinetuneData
from self1e.finetuning import FinetuneResult, finetune
from self1e.hub import find_checkpoint
from self1e.predictor import Predictor
from self1e.replay_memory import ReplayMemory

Say = Callable[[str], None]

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
    command: str = ""
    """As it was typed, for the report."""


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
    try:
        with training_lock(settings.data_dir, device_name(settings.device)):
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
        self._replay, self._truth = _split(
            [] if options.replay is None else read_samples(options.replay)
        )
        self._checkpoint = find_checkpoint(settings.model)  # once: a hub may change meanwhile
        base = self._load(None)
        self._memory = ReplayMemory.load(self._checkpoint)
        self._recipe = FinetuneRecipe.of_model(
            base.model,
            remembers=self._memory is not None,
            **({} if options.steps is None else {"steps": options.steps}),
        )
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
        candidate = self._judge(data, result)
        verdict = candidate.verdict
        # Before it is published: the pictures are drawn from the run's files.
        report = run_report(
            self._collected,
            data,
            candidate,
            result.history,
            self._recipe,
            margin=self._options.margin,
            command=self._options.command,
        )
        if not (verdict.passed or self._options.force):
            self._say(f"not published: {self._parent} goes on being served")
            self._keep_report(report, "", verdict.refusals)
            return FinetuneOutcome(verdict, None)
        try:
            version = self._publish(data, result, candidate)
        except VersionError as error:
            self._keep_report(report, "", (*verdict.refusals, str(error)))
            raise
        self._say(f"published: {version.name}" + (" (forced)" if version.forced else ""))
        self._keep_report(report, version.name, verdict.refusals)
        shutil.rmtree(self._directory)
        return FinetuneOutcome(verdict, version)

    def _train(self, data: TrainingSet) -> FinetuneResult:
        assert self._base is not None
        training = SharedTraining(
            FinetuneData(
                data.train, data.validation, self._replay, self._former_prompts, self._memory
            ),
            self._directory,
            self._recipe,
            self._parent_adapter,
        )
        share(training, self._settings)
        result = finetune(
            self._base,
            training.data,
            training.out,
            training.recipe,
            parent=training.parent,
            pause=self._pause,
            progress=self._progress,
        )
        self._base = None  # its memory is needed for the comparison
        losses = [entry["eval_loss"] for entry in result.history if "eval_loss" in entry]
        steps = max(int(entry["step"]) for entry in result.history)
        self._say(f"trained: {steps} steps, validation loss {losses[0]:.3f} -> {min(losses):.3f}")
        return result

    def _judge(self, data: TrainingSet, result: FinetuneResult) -> Candidate:
        served = ServedAnswers.ask(
            self._load(self._parent_adapter),
            data,
            truth=self._truth,
            former_prompts=self._former_prompts,
            memory=self._memory,
            pause=self._pause,
        )
        warning = label_warning(data.frame_shares)
        return first_to_pass(
            result.adapters,
            compare=lambda adapter: served.compare(self._load(adapter), self._pause),
            decide=lambda compared: judge(
                compared.held_out,
                compared.general,
                measure=compared.measure,
                margin=self._options.margin,
                warning=warning,
            ),
            say=self._say,
        )

    def _publish(
        self,
        data: TrainingSet,
        result: FinetuneResult,
        candidate: Candidate,
    ) -> ModelVersion:
        taught = {sample.prompt for sample in (*data.train, *data.validation, *data.held_out)}

        def write_adapter(directory: Path) -> None:
            shutil.copytree(candidate.adapter, directory, dirs_exist_ok=True)

        return self._store.publish(
            NewVersion(
                parent=self._parent,
                fingerprint=self._collected.fingerprint,
                run=self._name,
                verdict=str(candidate.verdict),
                write_adapter=write_adapter,
                forced=not candidate.verdict.passed,
                prompts=tuple(sorted(taught | set(self._former_prompts))),
                metrics=version_metrics(
                    candidate, data, result.history, self._recipe, self._options.margin
                ),
            )
        )

    def _keep_report(self, report: FinetuneReport, version: str, reasons: tuple[str, ...]) -> None:
        """A full disk fails no run whose version is served by now."""
        record = RunRecord(self._name, self._parent, time.time(), version, reasons)
        try:
            path = ReportStore(self._settings.data_dir).write(record, report_html(record, report))
        except OSError as error:
            self._say(f"no report: {error}")
        else:
            self._say(f"report: {path}")

    def _load(self, adapter: Path | None) -> Predictor:
        return load_adapted(
            self._checkpoint,
            adapter,
            device=own_device(self._settings),
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


def _split(
    samples: list[SegmentationSample],
) -> tuple[list[SegmentationSample], list[SegmentationSample]]:
    """Those to train with, and those for the gate: of each fifth photo."""
    photos = list(dict.fromkeys(sample.image for sample in samples))
    kept = set(photos[::_REPLAY_HELD_OUT])
    return (
        [sample for sample in samples if sample.image not in kept],
        [sample for sample in samples if sample.image in kept],
    )
