"""Training that starts from where words and reading have brought the network."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from self1e.model import Self1eModel
from self1e.recipe.encoded_views import GuidedExample
from self1e.recipe.word_alignment import phrase_query
from self1e.training import Collator, SegmentationTrainer, TrainingExample


class GuidedCollator(Collator):
    """Keeps the phrases beside the model's arguments."""

    def __call__(self, examples: Sequence[TrainingExample]) -> dict[str, Any]:
        """Examples all have one tile, so their order is kept."""
        batch = super().__call__(examples)
        guided = [example for example in examples if isinstance(example, GuidedExample)]
        return batch | {"phrases": [phrase for example in guided for phrase in example.phrases]}


class GuidedTrainer(SegmentationTrainer):
    """Draws each [SEG] query towards the phrase query that the mask head understands already.

    The pull fades out over `guide_steps`, so the loss ends as the method's.
    """

    def __init__(
        self, *args: Any, tokenizer: PreTrainedTokenizerBase, guide_steps: int, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._tokenizer = tokenizer
        self._guide_steps = guide_steps

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The model's loss and, at first, the pull."""
        phrases = inputs.pop("phrases")
        loss, output = super().compute_loss(model, inputs, return_outputs=True)
        weight = max(0.0, 1 - self.state.global_step / self._guide_steps)
        if weight:
            with torch.no_grad():
                wanted = phrase_query(cast(Self1eModel, model), self._tokenizer, phrases)
            likeness = functional.cosine_similarity(output.queries.float(), wanted, dim=-1)
            loss = loss + weight * (1 - likeness.mean())
            self.note("guide", float(1 - likeness.detach().mean()))
        return (loss, output) if return_outputs else loss
