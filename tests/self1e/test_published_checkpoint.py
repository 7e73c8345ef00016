"""Directories as published: their own layout, with a tokenizer that may lack the new tokens."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from self1e.checkpoint import CheckpointError, load_model, load_predictor
from self1e.published import EMBEDDING_NAME, LM_HEAD_NAME
from self1e.recipe.network import build_tokenizer
from tests.self1e.published_model import published_config, published_weights, write_published
from tests.tiny_model import PHRASES

CPU = torch.device("cpu")
TOKENIZER = build_tokenizer(PHRASES)


def write(directory: Path, *, rows: int, config: dict[str, Any] | None = None) -> Path:
    """A checkpoint of `rows` embeddings whose ids are to be found in its tokenizer."""
    if config is None:
        config = published_config("qwen2")
        del config["seg_token_id"], config["img_context_token_id"]
    weights = published_weights("qwen2")
    for name in (EMBEDDING_NAME, LM_HEAD_NAME):
        weights[name] = torch.randn(rows, weights[name].shape[1])
    return write_published(directory, config, weights)


def write_tokenizer(directory: Path, *, with_seg: bool) -> None:
    """The test's tokenizer, without [SEG] and [SEGT] at will, as one of the base model."""
    TOKENIZER.save_pretrained(directory)
    if with_seg:
        return
    path = directory / "tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"] = [t for t in content["added_tokens"] if "[SEG" not in t["content"]]
    vocabulary = content["model"]["vocab"]
    last = max(vocabulary.values())
    for token in ("[SEG]", "[SEGT]"):  # the ids of the others stay, without a gap
        hole = vocabulary.pop(token)
        moved = next(text for text, number in vocabulary.items() if number == last)
        vocabulary[moved], last = hole, last - 1
    path.write_text(json.dumps(content))
    config_path = directory / "tokenizer_config.json"
    config = json.loads(config_path.read_text())
    for key in ("additional_special_tokens", "extra_special_tokens"):
        config.pop(key, None)
    config["auto_map"] = {"AutoTokenizer": ["tokenization.Slow", "tokenization.Fast"]}
    config_path.write_text(json.dumps(config))


def test_tokenizer_with_the_tokens_gives_their_ids(tmp_path: Path) -> None:
    directory = write(tmp_path, rows=len(TOKENIZER))
    write_tokenizer(directory, with_seg=True)
    predictor = load_predictor(directory)
    assert predictor.model.config.seg_token_id == TOKENIZER.convert_tokens_to_ids("[SEG]")


def test_tokens_that_the_tokenizer_lacks_are_added_at_its_end(tmp_path: Path) -> None:
    directory = write(tmp_path, rows=len(TOKENIZER))
    write_tokenizer(directory, with_seg=False)
    model, tokenizer = load_model(directory, device=CPU, dtype=torch.float32)
    assert tokenizer is not None
    assert tokenizer.convert_tokens_to_ids(["[SEG]", "[SEGT]"]) == [
        len(TOKENIZER) - 2,
        len(TOKENIZER) - 1,
    ]
    assert model.config.seg_token_id == len(TOKENIZER) - 2


def test_added_token_beyond_the_embedding_is_an_error(tmp_path: Path) -> None:
    directory = write(tmp_path, rows=len(TOKENIZER) - 2)
    write_tokenizer(directory, with_seg=False)
    with pytest.raises(CheckpointError, match=r"\[SEG\] has the id \d+ but .* has \d+ rows"):
        load_predictor(directory)


def test_ids_of_the_config_do_without_a_tokenizer(tmp_path: Path) -> None:
    directory = write(tmp_path, rows=64, config=published_config("qwen2"))
    _, tokenizer = load_model(directory, device=CPU, dtype=torch.float32)
    assert tokenizer is None
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        load_predictor(directory)


def test_weights_without_an_output_embedding_are_tied(tmp_path: Path) -> None:
    weights = published_weights("qwen2")
    del weights[LM_HEAD_NAME]
    write_published(tmp_path, published_config("qwen2"), weights)
    model, _ = load_model(tmp_path, device=CPU, dtype=torch.float32)
    assert torch.equal(model.internvl.lm_head.weight, weights[EMBEDDING_NAME])


def test_weights_without_an_embedding_are_an_error(tmp_path: Path) -> None:
    weights = published_weights("qwen2")
    del weights[EMBEDDING_NAME]
    write_published(tmp_path, published_config("qwen2"), weights)
    with pytest.raises(CheckpointError, match=f"have no {EMBEDDING_NAME}"):
        load_model(tmp_path, device=CPU, dtype=torch.float32)


def test_config_without_a_part_is_an_error(tmp_path: Path) -> None:
    config = published_config("qwen2")
    del config["vision_config"]
    with pytest.raises(CheckpointError, match="lacks 'vision_config'"):
        load_predictor(write(tmp_path, rows=64, config=config))
