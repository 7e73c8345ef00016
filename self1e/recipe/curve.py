"""Held-out figures by kind of question: during training, as a curve, and at its end."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from self1e.dataset import SegmentationSample, read_samples
from self1e.evaluate import evaluate
from self1e.metrics import rank_correlation
from self1e.model import Self1eModel
from self1e.precision import autocast
from self1e.predictor import Predictor
from self1e.prompt import PromptEncoder


def held_out_figures(
    predictor: Predictor, kinds: Mapping[str, Path], *, most: int | None = None
) -> dict[str, dict[str, float]]:
    """Evaluates each kind of held-out question.

    Args:
        predictor: the model.
        kinds: kind of question to its samples file.
        most: evenly spaced samples of each kind, at most this many; None takes all.

    Returns:
        For each kind samples, giou, ciou and spearman (of score and IoU), and the share of empty
        answers as `empty`.
    """
    figures = {}
    for kind, path in kinds.items():
        evaluation = evaluate(predictor, _spread(read_samples(path), most), progress=most is None)
        results = evaluation.results
        figures[kind] = asdict(evaluation.metrics) | {
            "spearman": rank_correlation([r.score for r in results], [r.iou for r in results]),
            "empty": sum(r.empty for r in results) / len(results),
        }
    return figures


class HeldOutCurve(TrainerCallback):
    """Appends the held-out figures of a small choice of samples to a JSONL file as it trains."""

    def __init__(
        self,
        encoder: PromptEncoder,
        kinds: Mapping[str, Path],
        out: Path,
        *,
        every: int,
        most: int,
    ) -> None:
        """Keeps its arguments.

        Args:
            encoder: made with the model's tokenizer.
            kinds: kind of question to its samples file.
            out: the JSONL file.
            every: steps between two evaluations.
            most: samples of each kind.
        """
        self._encoder = encoder
        self._kinds = kinds
        self._out = out
        self._every = every
        self._most = most

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Self1eModel | None = None,
        **kwargs: Any,
    ) -> None:
        """Evaluates when it is time."""
        if model is None or state.global_step % self._every:
            return
        model.eval()
        with autocast(model.device.type):
            figures = held_out_figures(
                Predictor(model, self._encoder), self._kinds, most=self._most
            )
        model.train()
        line = {kind: round(values["giou"], 4) for kind, values in figures.items()}
        with self._out.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step} | line) + "\n")


def _spread(samples: list[SegmentationSample], most: int | None) -> list[SegmentationSample]:
    if most is None or len(samples) <= most:
        return samples
    return [samples[index * len(samples) // most] for index in range(most)]
