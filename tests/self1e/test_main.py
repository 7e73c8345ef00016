import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from self1e.__main__ import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def image(tmp_path: Path, photo: Image.Image) -> Path:
    path = tmp_path / "photo.jpg"
    photo.save(path)
    return path


def test_segment_writes_masks_and_overlays(
    image: Path, tiny_directory: Path, tmp_path: Path, capsys: Capture
) -> None:
    arguments = ["segment", str(image), "--prompt", "dog", "--prompt", "a red car"]
    arguments += ["--model", str(tiny_directory), "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert [entry["prompt"] for entry in report] == ["dog", "a red car"]
    for number, entry in enumerate(report, start=1):
        assert entry["mask"] == str(tmp_path / "out" / f"photo-{number}-mask.png")
        mask = np.asarray(Image.open(entry["mask"]))
        assert mask.shape == (60, 90)
        assert set(np.unique(mask)) <= {0, 255}
        assert entry["area"] == np.count_nonzero(mask) > 0
        assert 0 <= entry["score"] <= 1
        overlay = np.asarray(Image.open(entry["overlay"])).astype(int)
        photo = np.asarray(Image.open(image)).astype(int)
        assert (overlay == photo).all(axis=-1)[mask == 0].all()
        red, green, blue = (overlay - photo)[mask > 0].mean(axis=0)
        assert red > 0 > max(green, blue)


def test_evaluate_prints_the_figures(
    image: Path, tiny_directory: Path, tmp_path: Path, capsys: Capture
) -> None:
    Image.new("L", (90, 60), 255).save(tmp_path / "mask.png")
    sample = {"image": image.name, "prompt": "dog", "mask": "mask.png"}
    samples = tmp_path / "samples.jsonl"
    samples.write_text(json.dumps(sample) + "\n")
    assert main(["evaluate", str(samples), "--model", str(tiny_directory)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"samples", "giou", "ciou"}
    assert figures["samples"] == 1
    assert 0 < figures["giou"] == figures["ciou"] < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["segment", "no.jpg", "--prompt", "dog", "--model", "MODEL"], "no.jpg"),
        (["segment", "IMAGE", "--prompt", " ", "--model", "MODEL"], "prompt is empty"),
        (["segment", "IMAGE", "--prompt", "dog", "--model", "nothing"], "no directory 'nothing'"),
        (
            ["segment", "IMAGE", "--prompt", "dog", "--model", "MODEL", "--device", "gpu"],
            "no device 'gpu'",
        ),
        (["evaluate", "no.jsonl", "--model", "MODEL"], "no.jsonl"),
        (["evaluate", "EMPTY", "--model", "MODEL"], "no samples"),
        (["parity", "nowhere"], "nowhere"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    message: str,
    image: Path,
    tiny_directory: Path,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    (tmp_path / "empty.jsonl").touch()
    given = {"IMAGE": image, "MODEL": tiny_directory, "EMPTY": tmp_path / "empty.jsonl"}
    out = ["--out", str(tmp_path)] if arguments[0] == "segment" else []
    assert main([str(given.get(a, a)) for a in arguments] + out) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    # A progress bar that has begun ends its own line.
    assert captured.err.splitlines()[-1].startswith("self1e: ")
    assert message in captured.err.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["segment", "photo.jpg"],
        ["segment", "photo.jpg", "--prompt", "dog", "--max-tiles", "0"],
        ["segment", "photo.jpg", "--prompt", "dog", "--max-tiles", "few"],
        ["train", "--recipe", "other", "--data", "a", "--out", "b"],
    ],
)
def test_wrong_usage_is_explained(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m self1e" in capsys.readouterr().err
