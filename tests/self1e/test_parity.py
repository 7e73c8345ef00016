"""The given reference outputs, and `python -m self1e parity` on good and bad directories."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from self1e.__main__ import main
from self1e.parity import ParityError, run_parity

REFERENCE = Path(__file__).parent / "parity" / "model_qwen2"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(REFERENCE, tmp_path / "reference"))


def test_every_given_case_passes() -> None:
    results = {result.name: result for result in run_parity(REFERENCE)}
    assert set(results) == set(json.loads((REFERENCE / "cases.json").read_text()))
    for result in results.values():
        assert result.passed, result
        assert result.error <= {"logits": 5e-5, "losses": 1e-4}[result.measure]


def test_command_line_prints_a_line_per_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parity", str(REFERENCE)]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = json.loads((REFERENCE / "cases.json").read_text())
    assert [line.split()[1].rstrip(":") for line in lines] == list(names)
    assert all(line.startswith("pass") for line in lines)


@pytest.mark.parametrize(
    "tampered",
    [
        "mlp1.1.weight",
        "language_model.model.layers.1.self_attn.o_proj.weight",
        "vision_model.encoder.layers.0.attn.qkv.weight",
        "combine_decode_proj.2.bias",
    ],
)
def test_command_line_fails_on_tampered_weights(
    tampered: str, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = load_file(copied / "model.safetensors")
    weights[tampered][0] += 0.05
    save_file(weights, copied / "model.safetensors")
    assert main(["parity", str(copied)]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_another_attention_mask_fails(copied: Path) -> None:
    cases = load_file(copied / "cases.safetensors")
    cases["grid_2x2.attention_blocked_4d"][0, 0, 5, 6] ^= 1
    save_file(cases, copied / "cases.safetensors")
    assert [r.name for r in run_parity(copied) if not r.passed] == ["grid_2x2"]


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "cases.json", "cases.safetensors"]
)
def test_missing_file_is_a_clear_error(
    name: str, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied / name).unlink()
    assert main(["parity", str(copied)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert str(copied) in captured.err
    assert name.partition(".")[0] in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    "tensor", ["grid_2x2.input_ids", "grid_2x2.mask_logits.0", "train_two_prompts.labels"]
)
def test_missing_tensor_is_a_clear_error(tensor: str, copied: Path) -> None:
    cases = load_file(copied / "cases.safetensors")
    del cases[tensor]
    save_file(cases, copied / "cases.safetensors")
    case, _, key = tensor.partition(".")
    with pytest.raises(ParityError, match=f"Case {case} lacks .*{key}"):
        list(run_parity(copied))
