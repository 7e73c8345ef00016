from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from self1e.losses import mask_losses
from self1e.mask_head import MaskLogits
from self1e.model import Self1eModel
from self1e.predictor import Predictor
from self1e.recipe.word_alignment import PhraseBatch, align_words, phrase_logits, phrase_query

PHRASES = ["dog", "the red car"]


def batch(_step: int = 0) -> PhraseBatch:
    """Two views; each word is one half of both."""
    masks = torch.zeros(2, 2, 32, 32)
    masks[:, 0, :16] = 1
    masks[:, 1, 16:] = 1
    rng = torch.Generator().manual_seed(5)
    return PhraseBatch(
        vision=torch.randn(2, 16, 32, generator=rng),
        phrases=[PHRASES, PHRASES],
        masks=masks,
        counted=torch.ones(2, 32, 32),
    )


def loss(model: Self1eModel, tokenizer: PreTrainedTokenizerBase) -> float:
    with torch.no_grad():
        logits = phrase_logits(model, tokenizer, batch())
    flat = MaskLogits(logits.final.flatten(0, 1), logits.low.flatten(0, 1))
    return float(mask_losses([flat], [batch().masks.flatten(0, 1)]).bce)


def test_query_is_the_normed_mean_of_the_words(
    tiny_model: Self1eModel, tiny_predictor: Predictor
) -> None:
    tokenizer = tiny_predictor.encoder.tokenizer
    found = phrase_query(tiny_model, tokenizer, PHRASES)
    embedding = tiny_model.get_input_embeddings().get_parameter("weight")
    for row, phrase in enumerate(PHRASES):
        mean = embedding[tokenizer.encode(f" {phrase}", add_special_tokens=False)].mean(dim=0)
        normed = tiny_model.internvl.model.language_model.norm(mean)
        torch.testing.assert_close(found[row], normed)


def test_logits_are_one_map_for_each_phrase_of_each_view(
    tiny_model: Self1eModel, tiny_predictor: Predictor
) -> None:
    logits = phrase_logits(tiny_model, tiny_predictor.encoder.tokenizer, batch())
    assert logits.final.shape == (2, 2, 8, 8)
    assert logits.low.shape == (2, 2, 4, 4)
    assert not torch.allclose(logits.final[:, 0], logits.final[:, 1])


def test_words_are_learnt_and_the_layers_left_alone(
    tiny_model: Self1eModel, tiny_predictor: Predictor, tiny_directory: Path
) -> None:
    tokenizer = tiny_predictor.encoder.tokenizer
    align = partial(align_words, tiny_model, tokenizer, batch, learning_rate=3e-3)
    before, start = loss(tiny_model, tokenizer), tiny_model.state_dict()
    start = {name: weight.clone() for name, weight in start.items()}
    align(steps=25)
    assert loss(tiny_model, tokenizer) < 0.7 * before
    for name, weight in tiny_model.state_dict().items():
        layers = "vision_tower" in name or "language_model.layers" in name
        assert torch.equal(weight, start[name]) or not layers, name
