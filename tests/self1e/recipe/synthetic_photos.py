"""Writes tiny photo folders in the layouts of the real sources."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 60, 80


def box(top: int, left: int, bottom: int, right: int) -> NDArray[np.bool_]:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def write_label_map(
    folder: Path,
    stem: str,
    names: Mapping[int, str],
    labels: NDArray[np.uint8],
    *,
    seed: int = 0,
) -> None:
    """Add one photo of noise and its label image to a source folder."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "labels.json").write_text(json.dumps({str(k): v for k, v in names.items()}))
    pixels = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "images" / f"{stem}.jpg")
    Image.fromarray(labels).save(folder / "labels" / f"{stem}.png")


VOC_NAMES = {0: "background", 1: "aeroplane", 12: "dog", 15: "person", 18: "sofa"}
CCP_NAMES = {0: "null", 1: "bag", 2: "hair", 3: "dress", 4: "bra"}
FACE_NAMES = {0: "background", 1: "hair", 2: "face skin", 3: "eyes"}
DAVIS_NAMES = {0: "background", 1: "goat"}


def write_all_sources(data_dir: Path) -> Path:
    """Write one or two photos of each source: see the tests for what they show."""
    voc = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    voc[10:40, 10:40] = 12
    voc[10:40, 40:43] = 255
    write_label_map(data_dir / "voc", "dog", VOC_NAMES, voc, seed=1)
    voc = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    voc[5:50, 30:60] = 15
    voc[40:60, 0:30] = 18
    write_label_map(data_dir / "voc", "home", VOC_NAMES, voc, seed=2)

    ccp = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    ccp[5:15, 30:50] = 2
    ccp[15:55, 30:50] = 3
    ccp[30:45, 50:60] = 1
    ccp[15:17, 30:50] = 4
    write_label_map(data_dir / "ccp", "0001", CCP_NAMES, ccp, seed=3)

    face = np.full((HEIGHT, WIDTH), 2, dtype=np.uint8)
    face[:12] = 1
    face[22:24, 20:32] = 1
    face[26:30, 20:30] = 3
    face[26:30, 50:60] = 3
    write_label_map(data_dir / "faces", "Test_1", FACE_NAMES, face, seed=4)

    goat = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    goat[20:50, 20:60] = 1
    for frame in range(3):
        write_label_map(data_dir / "davis", f"goat_{frame}", DAVIS_NAMES, goat, seed=5 + frame)

    coco = data_dir / "coco128"
    (coco / "images").mkdir(parents=True)
    pixels = np.random.default_rng(9).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(coco / "images" / "1.jpg")
    things = [
        ("cup", [5, 20, 24, 20, 24, 44, 5, 44]),
        ("cup", [50, 20, 58, 20, 58, 28, 50, 28]),
        ("couch", [0, 46, 79, 46, 79, 59, 0, 59]),
    ]
    entry = {
        "image": "images/1.jpg",
        "width": WIDTH,
        "height": HEIGHT,
        "instances": [{"category": name, "polygon": outline} for name, outline in things],
    }
    (coco / "instances.json").write_text(json.dumps([entry]))
    return data_dir
