"""A start for the language model: it learns to bring the phrase to the position before [SEG].

After `self1e.recipe.word_alignment` the mask head answers to a phrase's mean token embedding.
Here the language model, alone and on short sequences, learns to say that itself: from the chat
text with a few of the image's tokens, the state before [SEG] is to be the phrase's query, told
from the other phrases' queries, while the image tokens pass through nearly unchanged. The answer's
own loss is there from the start, or its large first gradients would undo all this later. The tokens
left out keep their place in the position ids, so that distances are those of the full sequence.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase, get_cosine_schedule_with_warmup

from self1e.attention import additive_mask, blocked_attention
from self1e.losses import answer_loss, answer_positions
from self1e.model import Self1eModel
from self1e.precision import autocast
from self1e.prompt import PromptEncoder
from self1e.recipe.word_alignment import phrase_query

_TEMPERATURE = 0.07
_SMOOTHED_STEPS = 50


@dataclass(frozen=True)
class ReadingBatch:
    """Chats about one-tile views.

    Attributes:
        vision: F_V0 of V views, (V, N0, Cv).
        chats: for each view P pairs of user's turn and answer.
        phrases: for each view the P phrases that the turns ask for.
        image_columns: which of the N1 image tokens are kept, int64 (K,), ascending.
    """

    vision: Tensor
    chats: Sequence[Sequence[tuple[str, str]]]
    phrases: Sequence[Sequence[str]]
    image_columns: Tensor


@dataclass(frozen=True)
class Reading:
    """How well phrases are read: the loss, and the share told from all others of the batch."""

    loss: Tensor
    accuracy: float


def read_phrases(
    model: Self1eModel,
    tokenizer: PreTrainedTokenizerBase,
    encoder: PromptEncoder,
    batch: ReadingBatch,
) -> Reading:
    """One forward pass of the language model alone."""
    per_view = len(batch.chats[0])
    rows = [(user, answer, 1) for chats in batch.chats for user, answer in chats]
    prompts = encoder.encode_answers(rows)
    # Image tokens start at the same column in all rows: the system message comes before them.
    start = int((prompts.input_ids[0] == encoder.image_token_id).nonzero()[0])
    stop = start + encoder.tile_tokens
    columns = torch.cat(
        [
            torch.arange(start),
            start + batch.image_columns,
            torch.arange(stop, prompts.input_ids.shape[1]),
        ]
    )
    input_ids = prompts.input_ids[:, columns].to(model.device)
    attention_mask = prompts.attention_mask[:, columns].to(model.device)
    with torch.no_grad():
        tokens = model.project(batch.vision, (1, 1)).tokens[:, batch.image_columns]
        tokens = tokens.repeat_interleave(per_view, dim=0)
        flat = [phrase for phrases in batch.phrases for phrase in phrases]
        distinct = sorted(set(flat))
        wanted = phrase_query(model, tokenizer, distinct)
        targets = torch.tensor([distinct.index(phrase) for phrase in flat], device=model.device)

    image = input_ids == encoder.image_token_id
    embeds = model.get_input_embeddings()(input_ids)
    embeds = embeds.masked_scatter(image[..., None], tokens.to(embeds.dtype))
    blocked = blocked_attention(
        input_ids, attention_mask, encoder.image_token_id, encoder.seg_token_id
    )
    language = model.internvl.model.language_model
    hidden = language(
        inputs_embeds=embeds,
        attention_mask=additive_mask(blocked, embeds.dtype),
        position_ids=columns.to(model.device).expand(len(input_ids), -1),
        use_cache=False,
    ).last_hidden_state
    row, position = (input_ids == encoder.seg_token_id).nonzero(as_tuple=True)
    query = functional.normalize(hidden[row, position - 1].float(), dim=-1)
    similarity = query @ functional.normalize(wanted.float(), dim=-1).T
    passed = functional.cosine_similarity(
        hidden[image].float(), language.norm(tokens).flatten(0, 1).float(), dim=-1
    )
    told = functional.cross_entropy(similarity / _TEMPERATURE, targets)
    predicts, answer = answer_positions(prompts.labels[:, columns].to(model.device))
    answered = answer_loss(model.token_logits(hidden[predicts]), answer)
    matched = similarity.gather(1, targets[:, None])
    return Reading(
        loss=told + (1 - matched.mean()) + (1 - passed.mean()) + answered,
        accuracy=float((similarity.argmax(dim=1) == targets).float().mean()),
    )


def learn_to_read(
    model: Self1eModel,
    tokenizer: PreTrainedTokenizerBase,
    encoder: PromptEncoder,
    draw: Callable[[int], ReadingBatch],
    *,
    steps: int,
    learning_rate: float,
) -> None:
    """Trains the language model's layers and output embedding on reading, in place.

    Args:
        model: after word alignment; all the rest of it is left as it is.
        tokenizer: the model's.
        encoder: made with it.
        draw: gives the batch of a step.
        steps: number of steps.
        learning_rate: peak; cosine to 0 after a short warm-up.
    """
    trained = [
        *model.internvl.model.language_model.layers.parameters(),
        *model.internvl.lm_head.parameters(),
    ]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = get_cosine_schedule_with_warmup(optimizer, min(100, steps // 10), steps)
    smooth = 0.0
    progress = tqdm(range(steps), desc="reading", unit="step")
    for step in progress:
        with autocast(model.device.type):
            reading = read_phrases(model, tokenizer, encoder, draw(step))
        reading.loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        model.zero_grad()
        smooth += (reading.accuracy - smooth) / min(step + 1, _SMOOTHED_STEPS)
        progress.set_postfix(
            read=f"{smooth:.3f}", loss=f"{float(reading.loss.detach()):.3f}", refresh=False
        )
