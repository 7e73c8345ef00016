"""Fine-tuning on a few photos: LoRA, views on disk, replay, early stopping, and resuming.

All that a run makes lies in its directory. A run that was stopped at whatever moment and is started
again with the same arguments goes on where it was, and draws what it would have drawn.
"""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from peft import PeftModel
from torch import Tensor
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from self1e.adapter import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    adapter_state,
    add_adapter,
    blend_adapter,
    save_adapter,
)
from self1e.finetune_recipe import FinetuneRecipe
from self1e.finetune_views import FinetuneData, prepare_views
from self1e.predictor import Predictor
from self1e.prompt import PromptEncoder
from self1e.training import Collator, SegmentationTrainer

Pause = Callable[[], None]
Progress = Callable[[int, int], None]

GROUP_WAIT = 24 * 3600
"""Seconds that processes of one training wait for each other: one of them makes the views, and it
waits for prompts."""

_ADAPTERS = "adapters"
_TRAINER_STATE = "trainer_state.json"  # the last file of a checkpoint to be written


@dataclass(frozen=True)
class FinetuneResult:
    """A finished run.

    Attributes:
        adapters: their directories, by the share of the change that they keep, as in the recipe.
        history: the log lines with "step", and "loss" or "eval_loss".
    """

    adapters: dict[float, Path]
    history: list[dict[str, float]]


def finetune(
    predictor: Predictor,
    data: FinetuneData,
    out: Path,
    recipe: FinetuneRecipe,
    *,
    parent: Path | None = None,
    pause: Pause = lambda: None,
    progress: Progress = lambda _step, _steps: None,
) -> FinetuneResult:
    """Trains adapters, or goes on with that, or returns them if they are there.

    In a group of processes (`accelerate launch`) each calls this, with the same `out`.

    Args:
        predictor: the base model, whose model is changed.
        data: what to learn from.
        out: directory of the run.
        recipe: how.
        parent: directory of the adapter to go on from.
        pause: called between steps; returns when work may go on.
        progress: told the step and the most steps.

    Raises:
        AdapterError: the parent does not fit.
        SamplesError, OSError: a photo or a mask cannot be read.
        ValueError: there is nothing to train or to validate on.
    """
    if not (out / _ADAPTERS).is_dir():
        _train(predictor, data, out, recipe, parent, pause, progress)
    return FinetuneResult(
        {share: _adapter(out / _ADAPTERS, share) for share in recipe.kept_shares},
        json.loads((out / "history.json").read_text()),
    )


def _train(
    predictor: Predictor,
    data: FinetuneData,
    out: Path,
    recipe: FinetuneRecipe,
    parent: Path | None,
    pause: Pause,
    progress: Progress,
) -> None:
    if not data.train or not data.validation:
        raise ValueError("There must be photos both to train and to validate on")
    if data.memory is not None and not recipe.keep_vision:
        raise ValueError("A replay memory is of the vision tower as it is: keep_vision it")
    torch.manual_seed(recipe.seed)
    model, encoder = predictor.model, predictor.encoder
    taught = sorted({sample.prompt for sample in data.train})
    tokens = taught_tokens(encoder, taught) if recipe.prompt_tokens else set()
    adapted = add_adapter(model, recipe.adapter, tokens, parent)
    before = adapter_state(adapted) if min(recipe.kept_shares) < 1 else {}
    if recipe.gradient_checkpointing:
        # Named otherwise by older releases of transformers.
        current = getattr(model, "activation_checkpointing_enable", None)
        (current or model.gradient_checkpointing_enable)({"use_reentrant": False})
    model.eval()
    state = PartialState(cpu=model.device.type == "cpu", timeout=timedelta(seconds=GROUP_WAIT))
    with state.main_process_first():
        checkpoint = last_checkpoint(out / "checkpoints")
        examples, validation = prepare_views(
            predictor, data, out, recipe, pause, progress=state.is_main_process
        )
    arguments = _arguments(out, recipe, model.device)
    trainer = SegmentationTrainer(
        adapted,  # type: ignore[arg-type]  # it calls the model's own forward
        arguments,
        examples,
        Collator(encoder),
        eval_dataset=validation,
        callbacks=[
            EarlyStoppingCallback(early_stopping_patience=recipe.patience),
            _Companion(pause, progress),
        ],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=checkpoint)
    state.wait_for_everyone()  # each has loaded the best checkpoint
    if trainer.is_world_process_zero():
        _keep_best(trainer, adapted, out, before, recipe.kept_shares)
    state.wait_for_everyone()


def taught_tokens(encoder: PromptEncoder, prompts: Sequence[str]) -> set[int]:
    """Ids of the tokens of prompts that are not in every question."""

    def ids(text: str) -> set[int]:
        return set(encoder.tokenizer.encode(text, add_special_tokens=False))

    common = ids(encoder.user_turn("the")) | ids(encoder.user_turn("a"))
    return set[int]().union(*(ids(encoder.user_turn(prompt)) for prompt in prompts)) - common


def last_checkpoint(directory: Path) -> str | None:
    """The last whole checkpoint; those that a kill left half written are removed."""
    for path in sorted(
        directory.glob("checkpoint-*"), key=lambda path: -int(path.name.rpartition("-")[2])
    ):
        try:
            json.loads((path / _TRAINER_STATE).read_text())
        except (OSError, ValueError):
            shutil.rmtree(path)
        else:
            return str(path)
    return None


def _arguments(out: Path, recipe: FinetuneRecipe, device: torch.device) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(out / "checkpoints"),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch_photos,
        per_device_eval_batch_size=recipe.batch_photos,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=recipe.warmup_steps,
        adam_beta1=0.9,
        adam_beta2=0.95,
        weight_decay=0.01,
        max_grad_norm=1.0,
        bf16=recipe.bf16,
        use_cpu=device.type == "cpu",
        seed=recipe.seed,
        logging_steps=min(10, recipe.eval_steps),
        eval_strategy="steps",
        eval_steps=recipe.eval_steps,
        eval_on_start=True,
        save_strategy="steps",
        save_steps=recipe.eval_steps,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        prediction_loss_only=True,
        label_names=["labels"],
        report_to="none",
        ddp_timeout=GROUP_WAIT,
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=not sys.stderr.isatty(),
    )


class _Companion(TrainerCallback):
    """Pauses between steps and tells the progress."""

    def __init__(self, pause: Pause, progress: Progress) -> None:
        self._pause = pause
        self._progress = progress

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Waits until the next step may begin."""
        self._progress(state.global_step, state.max_steps)
        self._pause()

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Waits within an evaluation."""
        self._pause()


def _keep_best(
    trainer: SegmentationTrainer,
    adapted: PeftModel,
    out: Path,
    before: dict[str, Tensor],
    shares: Sequence[float],
) -> None:
    """Writes the history and, last, the adapters of the lowest validation loss."""
    partial = out / f"{_ADAPTERS}.part"
    shutil.rmtree(partial, ignore_errors=True)
    best = trainer.state.best_model_checkpoint
    for share in shares:
        adapter = _adapter(partial, share)
        save_adapter(adapted, adapter)
        if best is not None:
            for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
                shutil.copyfile(Path(best) / name, adapter / name)
        if share < 1:
            blend_adapter(adapter, before, share)
    (out / "history.json").write_text(json.dumps(trainer.state.log_history))
    partial.replace(out / _ADAPTERS)
    for name in ("checkpoints", "views", "validation"):
        shutil.rmtree(out / name)


def _adapter(directory: Path, share: float) -> Path:
    return directory / f"{share:g}"
