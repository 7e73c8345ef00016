from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset
from transformers import TrainingArguments

from self1e.image import tile_image
from self1e.model import Self1eConfig, Self1eModel
from self1e.predictor import Predictor
from self1e.prompt import ANSWER, question
from self1e.training import Collator, SegmentationTrainer, TrainingExample
from tests.tiny_model import TILE_SIZE

STEPS, BATCH = 12, 2


def half(side: str) -> torch.Tensor:
    mask = torch.zeros(32, 32)
    columns = slice(0, 16) if side == "left" else slice(16, 32)
    mask[:, columns] = 1
    return mask


class Halves(Dataset[TrainingExample]):
    """The same photo again and again, tiled in turn, asked for its left and right half."""

    def __init__(self, photo: Image.Image) -> None:
        self._tiles = [tile_image(photo, TILE_SIZE, max_tiles) for max_tiles in (1, 2)]

    def __len__(self) -> int:
        return STEPS * BATCH

    def __getitem__(self, number: int) -> TrainingExample:
        pixels, grid = self._tiles[number % 2]
        sides = ("left", "right") if number % 3 else ("right",)
        return TrainingExample(
            grid=grid,
            questions=[(question(f"the {side} half"), ANSWER) for side in sides],
            masks=torch.stack([half(side) for side in sides]),
            counted=torch.ones(32, 32),
            pixel_values=pixels,
        )


def trainer(
    model: Self1eModel, predictor: Predictor, dataset: Dataset[TrainingExample], out: Path
) -> SegmentationTrainer:
    arguments = TrainingArguments(
        output_dir=str(out),
        max_steps=STEPS,
        per_device_train_batch_size=BATCH,
        learning_rate=1e-3,
        use_cpu=True,
        logging_steps=3,
        save_steps=6,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    return SegmentationTrainer(model, arguments, dataset, Collator(predictor.encoder))


def test_training_lowers_the_loss_and_resumes_to_the_same_result(
    tiny_directory: Path,
    tiny_model: Self1eModel,
    tiny_predictor: Predictor,
    photo: Image.Image,
    tmp_path: Path,
) -> None:
    dataset = Halves(photo)
    start = {name: weight.clone() for name, weight in tiny_model.state_dict().items()}
    whole = trainer(tiny_model, tiny_predictor, dataset, tmp_path)
    whole.train()
    logs = [entry for entry in whole.state.log_history if "loss" in entry]
    assert logs[-1]["loss"] < 0.8 * logs[0]["loss"]
    for entry in logs:
        together = entry["ce"] + 2 * entry["bce"] + 0.5 * entry["dice"]
        assert entry["loss"] == pytest.approx(together, rel=1e-2)
    assert all(not torch.equal(w, start[name]) for name, w in trained_weights(tiny_model).items())

    again = Self1eModel(Self1eConfig.from_pretrained(tiny_directory))
    resumed = trainer(again, tiny_predictor, dataset, tmp_path)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    expected = tiny_model.state_dict()
    for name, weight in again.state_dict().items():
        assert torch.allclose(weight, expected[name], atol=1e-5, rtol=1e-4), name


def trained_weights(model: Self1eModel) -> dict[str, torch.Tensor]:
    """What a loss reaches: the key's bias drops out of the softmax."""
    return {
        name: weight.detach()
        for name, weight in model.named_parameters()
        if not name.endswith("k_proj.bias") and "mask_token" not in name
    }


def test_batch_sorts_images_by_grid(tiny_predictor: Predictor, photo: Image.Image) -> None:
    dataset = Halves(photo)
    batch = Collator(tiny_predictor.encoder)([dataset[1], dataset[2], dataset[3]])
    assert batch["grids"] == [(1, 1), (1, 2), (1, 2)]
    assert batch["prompts_per_image"] == [2, 2, 1]
    assert batch["input_ids"].shape[0] == 5
    assert batch["pixel_values"].shape == (5, 3, TILE_SIZE, TILE_SIZE)
    assert "vision" not in batch


def test_batch_of_computed_features(tiny_predictor: Predictor) -> None:
    features = torch.randn(1, 16, 32)
    example = TrainingExample(
        (1, 1), [("dog", ANSWER)], half("left")[None], torch.ones(32, 32), vision=features
    )
    batch = Collator(tiny_predictor.encoder)([example, example])
    assert torch.equal(batch["vision"], torch.cat([features, features]))
    assert "pixel_values" not in batch
    assert "soft" not in batch


def test_batch_marks_the_soft_targets(tiny_predictor: Predictor, photo: Image.Image) -> None:
    dataset = Halves(photo)
    former = replace(dataset[2], soft=torch.tensor([False, True]))
    batch = Collator(tiny_predictor.encoder)([dataset[1], former])
    (first, second) = batch["soft"]
    assert batch["prompts_per_image"] == [2, 2]
    assert {tuple(first.tolist()), tuple(second.tolist())} == {(False, False), (False, True)}
