from typing import Any

import pytest
import torch

from self1e.model import Self1eModel
from self1e.published import convert_config, rename
from tests.self1e.published_model import (
    IMAGE_ID,
    ROPE_THETA,
    SEG_ID,
    TILE,
    VOCABULARY,
    published_config,
    published_weights,
)


def converted(config: dict[str, Any], **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "tied": False,
        "seg_token_id": SEG_ID,
        "image_token_id": IMAGE_ID,
    }
    return convert_config(config, **(arguments | changes))


@pytest.mark.parametrize("language", ["qwen2", "qwen3"])
def test_renamed_weights_are_exactly_the_models(language: str) -> None:
    with torch.device("meta"):
        model = Self1eModel(converted(published_config(language)))
    renamed = {
        ours: values.shape
        for name, tensor in published_weights(language).items()
        for ours, values in rename(name, tensor).items()
    }
    assert renamed == {name: tensor.shape for name, tensor in model.state_dict().items()}


def test_fused_qkv_is_split_in_order() -> None:
    fused = torch.arange(6.0).reshape(6, 1)
    split = rename("vision_model.encoder.layers.3.attn.qkv.weight", fused)
    prefix = "internvl.model.vision_tower.encoder.layer.3.attention"
    assert {name: values.flatten().tolist() for name, values in split.items()} == {
        f"{prefix}.q_proj.weight": [0, 1],
        f"{prefix}.k_proj.weight": [2, 3],
        f"{prefix}.v_proj.weight": [4, 5],
    }


def test_config_takes_the_network_and_not_the_machine() -> None:
    config = converted(published_config("qwen3"))
    text = config.text_config
    assert config.tile_size == TILE
    assert config.tile_tokens == 4
    assert (text.model_type, text.vocab_size) == ("qwen3", VOCABULARY)
    assert text.rope_parameters["rope_theta"] == ROPE_THETA
    assert text._attn_implementation != "flash_attention_2"


@pytest.mark.parametrize(
    ("field", "value"), [("select_layer", -4), ("ps_version", "v1"), ("downsample_ratio", 0.25)]
)
def test_unsupported_architecture_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{field} {value!r}; only .* is supported"):
        converted(published_config() | {field: value})


@pytest.mark.parametrize("changes", [{"seg_token_id": VOCABULARY}, {"image_token_id": -1}])
def test_token_beyond_the_vocabulary_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"has the id .* but the token embedding has 64 rows"):
        converted(published_config(), **changes)
