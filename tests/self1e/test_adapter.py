import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from PIL import Image
from safetensors.torch import load_file, save_file

from self1e.adapter import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    AdapterError,
    AdapterOptions,
    adapter_state,
    add_adapter,
    blend_adapter,
    merge_adapter,
    save_adapter,
)
from self1e.checkpoint import load_model
from self1e.model import Self1eModel
from self1e.predictor import Predictor
from self1e.prompt import PromptEncoder

PROMPTS = ["the left dog", "a red car"]


def logits(model: torch.nn.Module, encoder: PromptEncoder, photo: Image.Image) -> torch.Tensor:
    assert isinstance(model, Self1eModel)
    predictor = Predictor(model.eval(), encoder)
    embedding = predictor.encode_image(photo)
    batch = encoder.encode(PROMPTS, 1)
    with torch.inference_mode():
        images = [embedding.features.select(torch.zeros(len(PROMPTS), dtype=torch.int64))]
        output = model.segment(images, batch.input_ids, batch.attention_mask)
    return output.masks[0].final


def trained_adapter(
    model: Self1eModel,
    directory: Path,
    *,
    vision: bool = True,
    projector: bool = False,
    parent: Path | None = None,
) -> None:
    """Moves all that an adapter may move, and saves it."""
    options = AdapterOptions(rank=4, alpha=8, vision=vision, projector=projector)
    adapted = add_adapter(model, options, {300, 301}, parent)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.05 * noise.to(parameter.dtype))
    save_adapter(adapted, directory)


def again(tiny_directory: Path) -> Self1eModel:
    model, _ = load_model(tiny_directory, device=torch.device("cpu"), dtype=torch.float32)
    return model


def test_a_new_adapter_changes_nothing_and_trains_what_it_should(
    tiny_model: Self1eModel, tiny_predictor: Predictor, photo: Image.Image
) -> None:
    before = logits(tiny_model, tiny_predictor.encoder, photo)
    adapted = add_adapter(tiny_model, AdapterOptions(rank=4), {300})
    assert torch.equal(logits(tiny_model, tiny_predictor.encoder, photo), before)
    trained = {name for name, each in adapted.named_parameters() if each.requires_grad}
    assert any("language_model.layers.0.self_attn.q_proj.lora_A" in name for name in trained)
    assert any("mask_head" in name for name in trained)
    assert not any("vision_tower" in name or "multi_modal_projector" in name for name in trained)
    rows = dict(adapted.named_parameters())[
        "base_model.model.internvl.model.language_model.embed_tokens."
        "token_adapter.trainable_tokens_delta.default"
    ]
    assert rows.shape[0] == 2  # [SEG] and 300


@pytest.mark.parametrize("projector", [False, True])
def test_a_merged_adapter_answers_as_the_trained_model(
    tiny_model: Self1eModel,
    tiny_directory: Path,
    tiny_predictor: Predictor,
    photo: Image.Image,
    tmp_path: Path,
    projector: bool,
) -> None:
    base = logits(again(tiny_directory), tiny_predictor.encoder, photo)
    trained_adapter(tiny_model, tmp_path, projector=projector)
    trained = logits(tiny_model, tiny_predictor.encoder, photo)
    assert {path.name for path in tmp_path.iterdir()} == {ADAPTER_CONFIG, ADAPTER_WEIGHTS}
    merged = merge_adapter(again(tiny_directory), tmp_path)
    after = logits(merged, tiny_predictor.encoder, photo)
    moved = any("projector" in name for name in load_file(tmp_path / ADAPTER_WEIGHTS))
    assert moved is projector
    assert (trained - base).abs().max() > 1
    assert torch.allclose(after, trained, atol=1e-2, rtol=1e-4)
    assert merged.state_dict().keys() == again(tiny_directory).state_dict().keys()
    assert merged.internvl.lm_head.weight is merged.get_input_embeddings().weight


def test_an_adapter_goes_on_from_its_parent_with_more_tokens_and_layers(
    tiny_model: Self1eModel,
    tiny_directory: Path,
    tiny_predictor: Predictor,
    photo: Image.Image,
    tmp_path: Path,
) -> None:
    trained_adapter(tiny_model, tmp_path, vision=False)
    parent = logits(tiny_model, tiny_predictor.encoder, photo)
    model = again(tiny_directory)
    adapted = add_adapter(model, AdapterOptions(rank=16, vision=True), {280, 305}, tmp_path)
    child = logits(model, tiny_predictor.encoder, photo)
    assert torch.allclose(child, parent, atol=1e-4)
    config = adapted.peft_config["default"]
    assert isinstance(config, LoraConfig)
    assert config.r == 4  # the parent's
    seg = model.config.seg_token_id
    assert config.trainable_token_indices == {"embed_tokens": sorted({seg, 280, 300, 301, 305})}
    trained = {name for name, each in adapted.named_parameters() if each.requires_grad}
    assert any("vision_tower" in name for name in trained)


def test_of_a_change_the_share_stays_that_is_wanted(
    tiny_model: Self1eModel, tiny_directory: Path, tmp_path: Path
) -> None:
    adapted = add_adapter(tiny_model, AdapterOptions(rank=4, projector=True), {300})
    before = adapter_state(adapted)
    with torch.no_grad():
        for parameter in adapted.parameters():
            parameter.add_(1)
    save_adapter(adapted, tmp_path)
    blend_adapter(tmp_path, before, 0.75)
    weights = load_file(tmp_path / ADAPTER_WEIGHTS)
    assert weights.keys() == before.keys()
    for name, each in weights.items():
        torch.testing.assert_close(each, before[name] + 0.75)
    merge_adapter(again(tiny_directory), tmp_path)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("now", [False, True])
def test_an_adapter_goes_on_with_or_without_a_projector(
    tiny_model: Self1eModel,
    tiny_directory: Path,
    tiny_predictor: Predictor,
    photo: Image.Image,
    tmp_path: Path,
    before: bool,
    now: bool,
) -> None:
    trained_adapter(tiny_model, tmp_path, vision=False, projector=before)
    parent = logits(tiny_model, tiny_predictor.encoder, photo)
    model = again(tiny_directory)
    adapted = add_adapter(model, AdapterOptions(projector=now), (), tmp_path)
    assert torch.allclose(logits(model, tiny_predictor.encoder, photo), parent, atol=1e-4)
    trained = {name for name, each in adapted.named_parameters() if each.requires_grad}
    assert any("multi_modal_projector" in name for name in trained) is (before or now)


def test_a_vision_tower_that_the_parent_trained_stays_as_it_was_if_not_wanted(
    tiny_model: Self1eModel, tiny_directory: Path, tmp_path: Path
) -> None:
    trained_adapter(tiny_model, tmp_path, vision=True)
    model = again(tiny_directory)
    adapted = add_adapter(model, AdapterOptions(), (), tmp_path)
    pixels = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    tiny_model.eval()
    model.eval()
    with torch.inference_mode():
        assert torch.equal(tiny_model.encode_vision(pixels), model.encode_vision(pixels))
        assert not torch.equal(
            again(tiny_directory).encode_vision(pixels), model.encode_vision(pixels)
        )
    trained = {name for name, each in adapted.named_parameters() if each.requires_grad}
    assert not any("vision_tower" in name for name in trained)


def test_a_merged_adapter_keeps_the_models_dtype(
    tiny_model: Self1eModel, tiny_directory: Path, tmp_path: Path
) -> None:
    trained_adapter(tiny_model, tmp_path)
    model, _ = load_model(tiny_directory, device=torch.device("cpu"), dtype=torch.bfloat16)
    merged = merge_adapter(model, tmp_path)
    assert {weight.dtype for weight in merged.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("damage", ["missing", "unexpected", "shape", "nan", "cut", "none"])
def test_an_adapter_that_does_not_fit_is_refused(
    tiny_model: Self1eModel, tiny_directory: Path, tmp_path: Path, damage: str
) -> None:
    trained_adapter(tiny_model, tmp_path)
    path = tmp_path / ADAPTER_WEIGHTS
    weights = load_file(path)
    name = next(name for name in weights if "lora_A" in name)
    message = {
        "missing": "missing weights",
        "unexpected": "unexpected weights",
        "shape": "wrong shapes",
        "nan": "no numbers",
        "cut": "cannot be read",
        "none": "it has no adapter_config.json",
    }[damage]
    if damage == "missing":
        del weights[name]
    elif damage == "unexpected":
        weights[f"{name}.more"] = torch.zeros(1)
    elif damage == "shape":
        weights[name] = weights[name][:, :-1].contiguous()
    elif damage == "nan":
        weights[name] = torch.full_like(weights[name], torch.nan)
    save_file(weights, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "none":
        (tmp_path / ADAPTER_CONFIG).unlink()
    with pytest.raises(AdapterError, match=message):
        merge_adapter(again(tiny_directory), tmp_path)


def test_an_adapter_for_layers_that_are_not_there_is_refused(
    tiny_model: Self1eModel, tiny_directory: Path, tmp_path: Path
) -> None:
    trained_adapter(tiny_model, tmp_path)
    config = json.loads((tmp_path / ADAPTER_CONFIG).read_text())
    config["target_modules"] = "no_such_layer"
    (tmp_path / ADAPTER_CONFIG).write_text(json.dumps(config))
    with pytest.raises(AdapterError, match="does not fit the model"):
        merge_adapter(again(tiny_directory), tmp_path)
