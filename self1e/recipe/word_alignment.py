"""A start for training from nothing: the mask head learns words before the language model reads.

With a new language model, binding a noun to [SEG] is what costs training: the noun is one token
among hundreds that the position before [SEG] averages over. So the projector, the token
embeddings and the mask head are trained first, alone: the query is the normed mean of the
phrase's token embeddings, and the image tokens pass by the language model unchanged. The network
that ships is the method's; this only chooses where its training starts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase, get_cosine_schedule_with_warmup

from self1e.losses import BCE_WEIGHT, DICE_WEIGHT, mask_losses
from self1e.mask_head import MaskLogits
from self1e.model import Self1eModel, join_tiles
from self1e.precision import autocast

_SMOOTHED_STEPS = 100  # over which the shown loss is averaged


@dataclass(frozen=True)
class PhraseBatch:
    """V one-tile views with P phrases each.

    Attributes:
        vision: F_V0, (V, N0, Cv).
        phrases: V lists of P phrases.
        masks: float (V, P, h, w) in 0..1.
        counted: float (V, h, w), 0 where a pixel does not count.
    """

    vision: Tensor
    phrases: Sequence[Sequence[str]]
    masks: Tensor
    counted: Tensor


def phrase_query(
    model: Self1eModel, tokenizer: PreTrainedTokenizerBase, phrases: Sequence[str]
) -> Tensor:
    """Normed mean of the phrases' token embeddings, (B, C)."""
    ids = [tokenizer.encode(f" {phrase}", add_special_tokens=False) for phrase in phrases]
    flat = torch.tensor([token for row in ids for token in row], device=model.device)
    row = torch.repeat_interleave(torch.tensor([len(row) for row in ids], device=model.device))
    embeds = model.get_input_embeddings()(flat)
    total = torch.zeros(len(ids), embeds.shape[1], dtype=embeds.dtype, device=model.device)
    mean = total.index_add(0, row, embeds) / row.bincount(minlength=len(ids))[:, None]
    query: Tensor = model.internvl.model.language_model.norm(mean)
    return query


def phrase_logits(
    model: Self1eModel, tokenizer: PreTrainedTokenizerBase, batch: PhraseBatch
) -> MaskLogits:
    """Mask logits (V, P, ...) with the phrase in the place of the language model's answer."""
    features = model.project(batch.vision, (1, 1))
    norm = model.internvl.model.language_model.norm
    tokens = join_tiles(norm(features.tokens), features.grid)
    flat = [phrase for phrases in batch.phrases for phrase in phrases]
    query = phrase_query(model, tokenizer, flat).unflatten(0, (len(batch.phrases), -1))
    logits: MaskLogits = model.mask_head(features.refill, tokens, query)
    return logits


def align_words(
    model: Self1eModel,
    tokenizer: PreTrainedTokenizerBase,
    draw: Callable[[int], PhraseBatch],
    *,
    steps: int,
    learning_rate: float,
) -> None:
    """Trains projector, token embeddings and mask head on phrases, in place.

    Args:
        model: the rest of it is left as it is.
        tokenizer: the model's.
        draw: gives the batch of a step.
        steps: number of steps.
        learning_rate: peak; cosine to 0 after a short warm-up.
    """
    trained = [
        *model.internvl.model.multi_modal_projector.parameters(),
        *model.get_input_embeddings().parameters(),
        *model.mask_head.parameters(),
    ]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = get_cosine_schedule_with_warmup(optimizer, min(100, steps // 10), steps)
    smooth = 0.0
    progress = tqdm(range(steps), desc="words", unit="step")
    for step in progress:
        batch = draw(step)
        with autocast(model.device.type):
            logits = phrase_logits(model, tokenizer, batch)
        masks = batch.masks.flatten(0, 1)
        counted = batch.counted.repeat_interleave(batch.masks.shape[1], dim=0)
        flat = MaskLogits(logits.final.flatten(0, 1), logits.low.flatten(0, 1))
        losses = mask_losses([flat], [masks], [counted])
        loss = BCE_WEIGHT * losses.bce + DICE_WEIGHT * losses.dice
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        smooth += (float(loss.detach()) - smooth) / min(step + 1, _SMOOTHED_STEPS)
        progress.set_postfix(loss=f"{smooth:.3f}", refresh=False)
