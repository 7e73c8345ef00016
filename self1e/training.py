"""Training on transformers' Trainer: examples, batches, and the recipe of paper section 3.5."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainingArguments

from self1e.model import Self1eModel
from self1e.prompt import PromptEncoder


@dataclass(frozen=True)
class TrainingExample:
    """One image and what is asked of it.

    Attributes:
        grid: (rows, cols) of the image's T tiles.
        questions: P user turns (`self1e.prompt.question`) with the answer to each.
        masks: ground truths, float (P, h, w) in 0..1, short side at most 128 pixels.
        counted: float (h, w), 0 where a pixel does not count.
        pixel_values: float (T, 3, S, S), unless `vision` is given.
        vision: F_V0 of a frozen vision tower, float (T, N0, Cv).
        soft: bool (P,), True where a mask is another model's probabilities; None: nowhere.
    """

    grid: tuple[int, int]
    questions: Sequence[tuple[str, str]]
    masks: Tensor
    counted: Tensor
    pixel_values: Tensor | None = None
    vision: Tensor | None = None
    soft: Tensor | None = None


class Collator:
    """Makes the arguments of `Self1eModel.forward` from examples."""

    def __init__(self, encoder: PromptEncoder) -> None:
        self.encoder = encoder

    def __call__(self, examples: Sequence[TrainingExample]) -> dict[str, Any]:
        """Examples with the same grid next to each other run together."""
        ordered = sorted(examples, key=lambda example: example.grid)
        tiles = [rows * cols for rows, cols in (example.grid for example in ordered)]
        prompts = self.encoder.encode_answers(
            [
                (user, answer, count)
                for example, count in zip(ordered, tiles, strict=True)
                for user, answer in example.questions
            ]
        )
        batch: dict[str, Any] = {
            "grids": [example.grid for example in ordered],
            "prompts_per_image": [len(example.questions) for example in ordered],
            "input_ids": prompts.input_ids,
            "attention_mask": prompts.attention_mask,
            "labels": prompts.labels,
            "masks": [example.masks for example in ordered],
            "counted": [example.counted for example in ordered],
        }
        pixels = [e.pixel_values for e in ordered if e.pixel_values is not None]
        vision = [e.vision for e in ordered if e.vision is not None]
        if any(example.soft is not None for example in ordered):
            batch["soft"] = [_marks(example) for example in ordered]
        if pixels:
            batch["pixel_values"] = torch.cat(pixels)
        if vision:
            batch["vision"] = torch.cat(vision)
        return batch


def _marks(example: TrainingExample) -> Tensor:
    if example.soft is None:
        return torch.zeros(len(example.masks), dtype=torch.bool)
    return example.soft


class SegmentationTrainer(Trainer):
    """Trainer that reads its dataset in order and logs what the loss is made of.

    Datasets draw their own order, seeded, so that a resumed run sees what it would have seen.
    """

    def __init__(
        self,
        model: Self1eModel,
        args: TrainingArguments,
        dataset: Dataset[TrainingExample],
        collator: Callable[[Sequence[TrainingExample]], dict[str, Any]],
        **kwargs: Any,
    ) -> None:
        super().__init__(
            model=model, args=args, train_dataset=dataset, data_collator=collator, **kwargs
        )
        self._parts: dict[str, list[float]] = {}

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The model's own loss; its parts are averaged until the next log line."""
        output = model(**inputs)
        for part in ("ce", "bce", "dice") if model.training else ():
            self.note(part, float(getattr(output, part).detach()))
        return (output.loss, output) if return_outputs else output.loss

    def note(self, part: str, value: float) -> None:
        """Averages a value into the next log line."""
        self._parts.setdefault(part, []).append(value)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the loss's parts to a training log line."""
        if "loss" in logs and self._parts:
            logs |= {part: sum(values) / len(values) for part, values in self._parts.items()}
            self._parts.clear()
        super().log(logs, start_time)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        ordered: Any = self.train_dataset if train_dataset is None else train_dataset
        return SequentialSampler(ordered)
