import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from self1e.dataset import SamplesError, SegmentationSample, read_samples

GOOD = {"image": "a.jpg", "prompt": "dog", "mask": "masks/a.png"}


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    odd = GOOD | {"ignore": "b.png", "prompt": "chien\u2028à gauche"}
    file.write_text(
        f"{json.dumps(GOOD)}\n\n{json.dumps(odd, ensure_ascii=False)}\n", encoding="utf-8"
    )
    assert read_samples(file) == [
        SegmentationSample(tmp_path / "a.jpg", "dog", tmp_path / "masks/a.png"),
        SegmentationSample(
            tmp_path / "a.jpg",
            "chien\u2028à gauche",
            tmp_path / "masks/a.png",
            tmp_path / "b.png",
        ),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "3",
        "null",
        '"image"',
        json.dumps({"image": "a.jpg", "prompt": "dog"}),
        json.dumps(GOOD | {"image": None}),
        json.dumps(GOOD | {"prompt": 3}),
        json.dumps(GOOD | {"mask": ["a.png"]}),
        json.dumps(GOOD | {"ignore": False}),
    ],
)
def test_bad_line_is_named(line: str, tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_text(f"{json.dumps(GOOD)}\n\n{line}\n")
    with pytest.raises(SamplesError, match=r"samples\.jsonl, line 3: expected .*, got ") as caught:
        read_samples(file)
    assert repr(line[:80]) in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SamplesError, match=r"no\.jsonl cannot be read"):
        read_samples(tmp_path / "no.jsonl")


def test_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SamplesError, match=r"samples\.jsonl cannot be read"):
        read_samples(tmp_path / "samples.jsonl")


def test_masks_are_white_on_black(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255, 127, 128]], dtype=np.uint8)).save(tmp_path / "m.png")
    sample = SegmentationSample(tmp_path / "a.jpg", "dog", tmp_path / "m.png", tmp_path / "m.png")
    assert sample.load_mask().tolist() == [[False, True, False, True]]
    counted = sample.load_counted()
    assert counted is not None
    assert counted.tolist() == [[True, False, True, False]]


def test_all_pixels_count_without_an_ignore_mask(tmp_path: Path) -> None:
    assert SegmentationSample(tmp_path, "dog", tmp_path).load_counted() is None


@pytest.mark.parametrize("content", [None, b"no image"])
def test_mask_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SamplesError, match=r"mask .*m\.png cannot be read"):
        SegmentationSample(tmp_path, "dog", path).load_mask()
