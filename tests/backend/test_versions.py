import os
import time
from pathlib import Path

import pytest

from backend.versions import model_version

GIGABYTE = 10**9


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    directory = tmp_path / "street"
    directory.mkdir()
    (directory / "config.json").write_text('{"tile_size": 448}')
    (directory / "model.safetensors").write_bytes(b"header" + bytes(1000))
    return directory


def test_the_demo_has_a_name_of_its_own() -> None:
    name, digest = model_version("demo").split("-")
    assert name == "demo"
    assert len(digest) == 8
    assert int(digest, 16) >= 0


def test_equal_checkpoints_have_equal_names_wherever_they_are(
    checkpoint: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere" / "street"
    name = model_version(str(checkpoint))
    assert name.startswith("street-")
    moved.parent.mkdir()
    checkpoint.rename(moved)
    assert model_version(str(moved)) == name


@pytest.mark.parametrize(
    ("file", "position"), [("config.json", 3), ("model.safetensors", 0), ("model.safetensors", 777)]
)
def test_a_changed_byte_changes_the_name(checkpoint: Path, file: str, position: int) -> None:
    name = model_version(str(checkpoint))
    content = bytearray((checkpoint / file).read_bytes())
    content[position] ^= 1
    (checkpoint / file).write_bytes(content)
    assert model_version(str(checkpoint)) != name


def test_files_beside_the_model_do_not_change_the_name(checkpoint: Path) -> None:
    name = model_version(str(checkpoint))
    (checkpoint / "README.md").write_text("A model.")
    (checkpoint / "replay.safetensors").write_bytes(b"what it remembers")
    assert model_version(str(checkpoint)) == name


def test_large_weights_are_named_in_a_moment(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    os.truncate(weights, 16 * GIGABYTE)
    start = time.monotonic()
    name = model_version(str(checkpoint))
    assert time.monotonic() - start < 2
    with weights.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    assert model_version(str(checkpoint)) != name


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("owner/SELF1E", "SELF1E"),
        ("owner/SELF1E/InternVL3-2B", "InternVL3-2B"),
        ("cached/SELF1E", "SELF1E-0123abcd"),
    ],
)
def test_a_hub_id_gives_its_name_and_the_downloaded_revision(
    model: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.versions.HF_HUB_CACHE", str(tmp_path))
    reference = tmp_path / "models--cached--SELF1E" / "refs" / "main"
    reference.parent.mkdir(parents=True)
    reference.write_text("0123abcd4567")
    assert model_version(model) == expected
