from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model, PreTrainedTokenizerFast
from transformers.models.internvl.configuration_internvl import InternVLVisionConfig
from transformers.models.internvl.modeling_internvl import InternVLVisionModel

from self1e.prompt import TRAIN_ANSWERS, question
from self1e.recipe.network import (
    TILE_SIZE,
    VISION_WIDTH,
    build_model,
    build_tokenizer,
    convert_dinov2,
    resize_positions,
)

TRAINED_SIDE, PATCH = 70, 14  # a 5 x 5 grid
OLD_NAMES = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer(["dog", "the red car", "hair"])


def dinov2(width: int, layers: int, heads: int) -> Dinov2Model:
    """A Dinov2Model whose weights are all random, scales and positions too."""
    torch.manual_seed(0)
    model: Dinov2Model = Dinov2Model(
        Dinov2Config(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            image_size=TRAINED_SIDE,
            patch_size=PATCH,
        )
    ).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.3 if weight.ndim < 3 else 0.1)
    return model


def old_weights(model: Dinov2Model) -> dict[str, Tensor]:
    """Its weights under the names of transformers 4."""
    weights = {}
    for name, tensor in model.state_dict().items():
        stored = name
        for new, old in OLD_NAMES.items():
            stored = stored.replace(new, old)
        weights[stored] = tensor.contiguous()
    return weights


@torch.no_grad()
@pytest.mark.parametrize("grid", [5, 8])
def test_converted_tower_equals_dinov2(grid: int) -> None:
    reference = dinov2(width=24, layers=2, heads=3)
    tower = InternVLVisionModel(
        InternVLVisionConfig(
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=96,
            image_size=[grid * PATCH, grid * PATCH],
            patch_size=[PATCH, PATCH],
            attention_bias=True,
            use_mean_pooling=False,
        )
    ).eval()
    tower.load_state_dict(convert_dinov2(old_weights(reference), grid))
    pixels = torch.randn(2, 3, grid * PATCH, grid * PATCH)
    found = tower(pixel_values=pixels).last_hidden_state
    expected = reference(pixel_values=pixels).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_positions_on_their_own_grid_stay() -> None:
    positions = torch.randn(1, 26, 4)
    torch.testing.assert_close(resize_positions(positions, 5), positions)


def test_new_model_takes_the_vision_weights(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    reference = dinov2(VISION_WIDTH, layers=12, heads=6)
    save_file(old_weights(reference), tmp_path / "vision.safetensors")
    model = build_model(tokenizer, tmp_path / "vision.safetensors")
    assert model.config.tile_size == TILE_SIZE
    assert model.config.tile_tokens == 256
    assert model.config.text_config.vocab_size == len(tokenizer)
    tower = model.internvl.model.vision_tower
    assert torch.equal(tower.layernorm.weight, reference.layernorm.weight)

    del reference.encoder.layer[11]
    save_file(old_weights(reference), tmp_path / "short.safetensors")
    with pytest.raises(RuntimeError, match=r"encoder\.layer\.11"):
        build_model(tokenizer, tmp_path / "short.safetensors")


@pytest.mark.parametrize("text", ["dog", "Größe 漢字 🐶", "\x00\t\n", "the red car"])
def test_tokenizer_takes_any_text(text: str, tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_common_prompts_are_short(tokenizer: PreTrainedTokenizerFast) -> None:
    for phrase in ("dog", "red", "car", "hair"):
        assert len(tokenizer.encode(f" {phrase}")) == 1
    user, answer = f"\n {question('dog')}", TRAIN_ANSWERS[0]
    assert len(tokenizer.encode(user)) <= len(user.split()) + 3  # and "\n", "?" and "."
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode(answer))[-2:] == ["[SEG]", "."]
