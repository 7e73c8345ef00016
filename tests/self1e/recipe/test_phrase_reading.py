import torch

from self1e.model import Self1eModel
from self1e.predictor import Predictor
from self1e.prompt import ANSWER, PHRASE_QUESTION
from self1e.recipe.phrase_reading import ReadingBatch, learn_to_read, read_phrases

PHRASES = ["dog", "the red car"]


def batch(_step: int = 0) -> ReadingBatch:
    rng = torch.Generator().manual_seed(5)
    return ReadingBatch(
        vision=torch.randn(2, 16, 32, generator=rng),
        chats=[[(PHRASE_QUESTION.format(phrase), ANSWER) for phrase in PHRASES]] * 2,
        phrases=[PHRASES] * 2,
        image_columns=torch.tensor([0, 2]),
    )


def test_phrases_and_answers_are_learnt_by_the_language_model_alone(
    tiny_model: Self1eModel, tiny_predictor: Predictor
) -> None:
    encoder = tiny_predictor.encoder
    start = {name: weight.clone() for name, weight in tiny_model.state_dict().items()}
    before = read_phrases(tiny_model, encoder.tokenizer, encoder, batch())
    learn_to_read(tiny_model, encoder.tokenizer, encoder, batch, steps=25, learning_rate=5e-3)
    after = read_phrases(tiny_model, encoder.tokenizer, encoder, batch())
    assert float(after.loss.detach()) < 0.5 * float(before.loss.detach())
    assert after.accuracy == 1
    for name, weight in tiny_model.state_dict().items():
        # This model's output embedding is its token embedding.
        learns = any(part in name for part in ("language_model.layers", "lm_head", "embed_tokens"))
        assert torch.equal(weight, start[name]) or learns, name

    # The token that is said next, where the query is read, is [SEG].
    prompts = encoder.encode(PHRASES, tiles=1)
    features = tiny_model.project(batch().vision[:1], (1, 1))
    with torch.inference_mode():
        output = tiny_model.segment(
            [features.select(torch.tensor([0, 0]))], prompts.input_ids, prompts.attention_mask
        )
        said = tiny_model.token_logits(output.queries).argmax(dim=-1)
    assert said.tolist() == [encoder.seg_token_id] * 2
