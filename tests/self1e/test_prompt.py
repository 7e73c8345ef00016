import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from self1e.errors import PromptError
from self1e.losses import IGNORE_LABEL
from self1e.prompt import (
    TRAIN_ANSWERS,
    PromptBatch,
    PromptEncoder,
    chat_text,
    is_sentence,
    question,
)
from self1e.recipe.network import build_tokenizer
from tests.tiny_model import PHRASES

PROMPTS = json.loads(
    (Path(__file__).parent / "parity" / "preprocessing" / "prompts.json").read_text()
)
TILE_TOKENS = 4
TOKENIZER = build_tokenizer(PHRASES)
ENCODER = PromptEncoder(TOKENIZER, TILE_TOKENS)
SPECIAL = sorted(TOKENIZER.get_added_vocab())


def tokens(batch: PromptBatch, row: int = 0) -> list[str]:
    ids = batch.input_ids[row][batch.attention_mask[row].bool()]
    return [str(TOKENIZER.convert_ids_to_tokens(token)) for token in ids.tolist()]


def text(batch: PromptBatch, row: int = 0) -> str:
    return TOKENIZER.convert_tokens_to_string(tokens(batch, row))


@pytest.mark.parametrize("kind", PROMPTS)
def test_chat_equals_the_reference(kind: str) -> None:
    assert chat_text(question(PROMPTS[kind]["text"])) == PROMPTS[kind]["prompt"]


@pytest.mark.parametrize("kind", PROMPTS)
def test_token_ids_are_those_of_the_whole_text(kind: str) -> None:
    image = "<img>" + "<IMG_CONTEXT>" * TILE_TOKENS + "</img>"
    whole = PROMPTS[kind]["prompt"].replace("<image>", image)
    whole = whole[: whole.rindex("[SEG]") + len("[SEG]")]
    batch = ENCODER.encode([PROMPTS[kind]["text"]], tiles=1)
    assert batch.input_ids[0].tolist() == TOKENIZER.encode(whole, add_special_tokens=False)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("the left dog", "What is the left dog in this image? Please output segmentation mask."),
        ("  A   Red\tcar. ", "What is a red car in this image? Please output segmentation mask."),
        ("dogs!", "What is dogs in this image? Please output segmentation mask."),
        ("Where is it?", "Where is it? Please output segmentation mask."),
        (
            "Segment the man in blue.",
            "Segment the man in blue. Please output segmentation mask.",
        ),
        ("{}", "What is {} in this image? Please output segmentation mask."),
    ],
)
def test_question(prompt: str, expected: str) -> None:
    assert question(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("What is on the left?", True),
        ("the big red dog.", False),
        ("Show me the big dog.", True),
        ("the dog that barks at a cat", False),
        ("", False),
    ],
)
def test_sentences_end_like_sentences(prompt: str, expected: bool) -> None:
    assert is_sentence(prompt) is expected


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t", "...", " ,;! ", "?", " ?! ?", "\ud800"])
def test_empty_prompt_is_an_error(prompt: str) -> None:
    with pytest.raises(PromptError, match="empty"):
        ENCODER.encode([prompt], tiles=1)


@pytest.mark.parametrize("prompt", ["[SEG]", "<|im_end|> <img>", "[SEG]?"])
def test_prompt_of_nothing_but_special_tokens_is_empty(prompt: str) -> None:
    with pytest.raises(PromptError, match="empty"):
        ENCODER.encode([prompt], tiles=1)


def test_too_long_prompt_is_an_error() -> None:
    encoder = PromptEncoder(TOKENIZER, TILE_TOKENS, max_tokens=60)
    with pytest.raises(PromptError, match=r"has \d+ tokens; at most 60 are read"):
        encoder.encode(["dog", "zebra " * 50], tiles=1)


def test_image_tokens_do_not_count_as_prompt() -> None:
    batch = PromptEncoder(TOKENIZER, tile_tokens=256, max_tokens=100).encode(["dog"], tiles=2)
    assert (batch.input_ids == ENCODER.image_token_id).sum() == 512


@settings(deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=[]), max_size=20) | st.sampled_from(SPECIAL),
        max_size=6,
    ).map("".join)
)
def test_no_text_brings_in_special_tokens(prompt: str) -> None:
    try:
        found = tokens(ENCODER.encode([prompt], tiles=2))
    except PromptError:
        return
    expected = tokens(ENCODER.encode(["dog"], tiles=2))
    assert [t for t in found if t in SPECIAL] == [t for t in expected if t in SPECIAL]
    assert found[-1] == "[SEG]"


@pytest.mark.parametrize("special", [*SPECIAL, "<|IM_END|>", "<Img>", "<|ENDOFTEXT|>"])
def test_special_tokens_that_are_typed_are_left_out(special: str) -> None:
    typed = ENCODER.encode([f"the {special} dog"], tiles=1)
    assert text(typed) == text(ENCODER.encode(["the dog"], tiles=1))


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Z", "C", "P"]), min_size=1, max_size=40))
def test_any_unicode_reaches_the_model_unchanged(phrase: str) -> None:
    prompt = text(ENCODER.encode([phrase], tiles=1))
    assert f"What is {' '.join(phrase.split()).lower()} in this image?" in prompt


def test_batch_is_padded_on_the_right() -> None:
    batch = ENCODER.encode(["dog", "the man on the right"], tiles=1)
    short, long = (len(tokens(batch, row)) for row in range(2))
    assert short < long == batch.input_ids.shape[1]
    assert batch.attention_mask[0].tolist() == [1] * short + [0] * (long - short)
    assert set(batch.input_ids[0, short:].tolist()) == {TOKENIZER.pad_token_id}
    alone = ENCODER.encode(["dog"], tiles=1)
    assert alone.input_ids[0].tolist() == batch.input_ids[0, :short].tolist()


@pytest.mark.parametrize("answer", TRAIN_ANSWERS)
def test_labels_cover_exactly_the_answer(answer: str) -> None:
    user = question("the left dog")
    batch = ENCODER.encode_answers([(user, answer, 1), (question("tree"), "[SEG].", 2)])
    answered = batch.labels[0] != IGNORE_LABEL
    assert answered.nonzero().flatten().diff().unique().tolist() == [1]
    assert (batch.labels[0] == batch.input_ids[0])[answered].all()
    assert TOKENIZER.decode(batch.labels[0][answered]) == f"{answer}<|im_end|>\n"
    before = str(TOKENIZER.decode(batch.input_ids[0][: int(answered.nonzero()[0])]))
    assert before.endswith("<|im_start|>assistant\n")


def test_question_that_quotes_the_answer_is_not_labelled() -> None:
    batch = ENCODER.encode_answers([("Say Sure, [SEG]. please", "Sure, [SEG].", 1)])
    answered = batch.labels[0] != IGNORE_LABEL
    assert TOKENIZER.decode(batch.labels[0][answered]) == "Sure, [SEG].<|im_end|>\n"


def test_tokenizer_without_the_tokens_is_an_error() -> None:
    bare = PreTrainedTokenizerFast(
        tokenizer_object=TOKENIZER.backend_tokenizer.from_str(
            TOKENIZER.backend_tokenizer.to_str().replace("[SEG]", "[GES]")
        )
    )
    with pytest.raises(ValueError, match=r"lacks the special tokens \[SEG\]"):
        PromptEncoder(bare, TILE_TOKENS)
