import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from self1e.checkpoint import (
    CheckpointError,
    choose_device,
    choose_dtype,
    device_name,
    load_model,
    load_predictor,
    save_model,
)
from self1e.model import Self1eModel
from tests.tiny_model import write_tiny_model

CPU = torch.device("cpu")
LAYER = "internvl.model.language_model.layers.0"


@pytest.fixture
def copied(tiny_directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_directory, tmp_path / "model"))


def load(directory: Path, dtype: torch.dtype = torch.float32) -> Self1eModel:
    model, _ = load_model(directory, device=CPU, dtype=dtype)
    return model


def change_config(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = directory / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


def test_tiny_model_is_the_same_every_time(tiny_directory: Path, tmp_path: Path) -> None:
    again = write_tiny_model(tmp_path)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (again / name).read_bytes() == (tiny_directory / name).read_bytes()


@pytest.mark.parametrize("language", ["qwen2", "qwen3"])
def test_saved_model_comes_back(language: str, tmp_path: Path) -> None:
    first, tokenizer = load_model(
        write_tiny_model(tmp_path / "a", language=language), device=CPU, dtype=torch.float32
    )
    assert tokenizer is not None
    save_model(first, tokenizer, tmp_path / "b")
    second, again = load_model(tmp_path / "b", device=CPU, dtype=torch.float32)
    assert again is not None
    assert again.get_vocab() == tokenizer.get_vocab()
    assert not second.training
    expected = first.state_dict()
    for name, tensor in second.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)


def test_stored_names_are_the_models_own(tiny_directory: Path) -> None:
    model = load(tiny_directory)
    tied = {"internvl.lm_head.weight"}
    assert set(load_file(tiny_directory / "model.safetensors")) == set(model.state_dict()) - tied


def test_half_precision_is_kept_on_disk_and_widened_on_loading(
    tiny_directory: Path, tmp_path: Path
) -> None:
    model, tokenizer = load_model(tiny_directory, device=CPU, dtype=torch.float32)
    assert tokenizer is not None
    save_model(model.half(), tokenizer, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    for dtype in (torch.float32, torch.bfloat16):
        widened = load(tmp_path, dtype)
        assert {weight.dtype for weight in widened.parameters()} == {dtype}
        head = widened.state_dict()["mask_head.fuse.first.weight"]
        torch.testing.assert_close(head, stored["mask_head.fuse.first.weight"].to(dtype))


def test_tied_embeddings_are_one_tensor(tiny_directory: Path) -> None:
    model = load(tiny_directory)
    embedding = model.get_input_embeddings().get_parameter("weight")
    assert model.internvl.lm_head.weight.data_ptr() == embedding.data_ptr()


def test_shards_are_read(copied: Path) -> None:
    expected = load(copied).state_dict()
    weights = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, own in shards.items():
        save_file({name: weights[name] for name in own}, copied / file)
    index = {"weight_map": {name: file for file, own in shards.items() for name in own}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    for name, tensor in load(copied).state_dict().items():
        assert torch.equal(tensor, expected[name])
    (copied / "two.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"two\.safetensors"):
        load(copied)


def test_every_weight_that_does_not_fit_is_listed(copied: Path) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        del weights["mask_head.fuse.first.bias"], weights[f"{LAYER}.mlp.up_proj.weight"]
        weights["mask_head.extra"] = torch.zeros(1)
        weights["mask_head.llm_mlp.first.bias"] = torch.zeros(65)

    change_weights(copied, change)
    with pytest.raises(CheckpointError) as caught:
        load(copied)
    message = str(caught.value)
    assert (
        f"missing weights: {LAYER}.mlp.up_proj.weight, mask_head.fuse.first.bias; "
        "unexpected weights: mask_head.extra; "
        "wrong shapes: mask_head.llm_mlp.first.bias (65,), not (64,)"
    ) in message
    assert str(copied) in message


def test_long_lists_are_cut(copied: Path) -> None:
    change_weights(copied, dict.clear)
    total = len(load_file(copied / "model.safetensors"))
    assert total == 0
    with pytest.raises(CheckpointError, match=r"missing weights: .* and \d+ more$"):
        load(copied)


def test_pickles_are_never_loaded(copied: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    (copied / "model.safetensors").unlink()
    (copied / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match=r"no model\.safetensors. Pickled weights are never"):
        load(copied)
    assert not (tmp_path / "sprung").exists()


def test_damaged_weights_are_an_error(copied: Path) -> None:
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load(copied)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be loaded"),
        ("[]", "no SELF1E model"),
        ("{}", "model_type None, not self1e or internvl_chat"),
        ('{"model_type": "qwen2"}', "model_type 'qwen2', not self1e or internvl_chat"),
        ('{"model_type": "self1e", "seg_token_id": "two"}', "seg_token_id"),
    ],
)
def test_config_that_makes_no_sense_is_an_error(content: str, message: str, copied: Path) -> None:
    (copied / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load_predictor(copied)


def test_tokenizer_of_another_model_is_an_error(copied: Path) -> None:
    change_config(copied, seg_token_id=3)
    with pytest.raises(CheckpointError, match="is of two models"):
        load_predictor(copied)


def test_tokenizer_without_seg_is_an_error(copied: Path) -> None:
    path = copied / "tokenizer.json"
    path.write_text(path.read_text().replace("[SEG]", "[GES]"))
    (copied / "tokenizer_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"lacks the special tokens \[SEG\]"):
        load_predictor(copied)


def test_damaged_tokenizer_is_an_error(copied: Path) -> None:
    (copied / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(CheckpointError, match="tokenizer"):
        load_predictor(copied)


@pytest.mark.parametrize("device", ["gpu", "cuda:x"])
def test_unknown_device_is_an_error(device: str) -> None:
    with pytest.raises(CheckpointError, match=device):
        choose_device(device)


def test_a_device_has_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert {device_name(each) for each in ("auto", "cpu")} == {"cpu"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert {device_name(each) for each in ("auto", "cuda", "cuda:0")} == {"cuda:0"}
    assert device_name("cuda:1") == "cuda:1"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_an_error() -> None:
    with pytest.raises(CheckpointError, match="no CUDA device"):
        choose_device("cuda:0")
    assert choose_device("auto") == CPU


def test_dtype_follows_the_device() -> None:
    assert choose_dtype("auto", CPU) == torch.float32
    assert choose_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16
    with pytest.raises(CheckpointError, match="float16"):
        choose_dtype("float16", CPU)
