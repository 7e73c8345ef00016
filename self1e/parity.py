"""Comparison with a reference directory: weights, inputs and the exact outputs to match.

A directory holds `config.json` and `model.safetensors` (published layout), `cases.safetensors`
(tensors named `case.tensor`) and `cases.json` (each case's kind and tile grids as [cols, rows]).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from self1e.attention import blocked_attention
from self1e.checkpoint import load_model
from self1e.losses import reduce_target
from self1e.model import Self1eModel

LOGITS_TOLERANCE = 5e-5  # largest absolute error
LOSS_TOLERANCE = 1e-4  # largest relative error
_LOSSES = ("loss", "ce_loss", "mask_bce_loss", "mask_dice_loss")
_INPUTS = ("input_ids", "attention_mask", "pixel_values")


class ParityError(Exception):
    """The directory is not in the format."""


@dataclass(frozen=True)
class CaseResult:
    """How far one case is off.

    Attributes:
        name: of the case.
        measure: "logits" (absolute error) or "losses" (relative error).
        error: the largest one.
        passed: whether it is within tolerance and the attention mask, if given, is equal.
    """

    name: str
    measure: str
    error: float
    passed: bool


def run_parity(directory: Path) -> Iterator[CaseResult]:
    """Runs every case in fp32 on the CPU.

    Raises:
        CheckpointError: the weights do not load.
        ParityError: the cases do not.
    """
    device = torch.device("cpu")
    model, _ = load_model(directory, device=device, dtype=torch.float32)
    try:
        cases: dict[str, Any] = json.loads((directory / "cases.json").read_text())
        tensors = load_file(directory / "cases.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise ParityError(f"The cases of {directory} cannot be read: {error}") from error
    for name, case in cases.items():
        prefix = f"{name}."
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        missing = [key for key in _INPUTS if key not in own]
        if missing:
            raise ParityError(f"Case {name} lacks {', '.join(missing)}")
        try:
            grids = [(rows, cols) for cols, rows in case["grid_cols_rows"]]
            run = _train_case if case["kind"] == "train" else _inference_case
            with torch.no_grad():
                result = run(model, name, own, grids)
        except KeyError as error:
            raise ParityError(f"Case {name} lacks {error}") from error
        yield result


def _inference_case(
    model: Self1eModel, name: str, case: dict[str, Tensor], grids: list[tuple[int, int]]
) -> CaseResult:
    vision = model.encode_vision(case["pixel_values"]).split([r * c for r, c in grids])
    images = [model.project(v, grid) for v, grid in zip(vision, grids, strict=True)]
    output = model.segment(
        images, case["input_ids"], case["attention_mask"], case.get("position_ids")
    )
    error = 0.0
    for row, found in enumerate(output.masks):
        if len(found.final) or f"mask_logits.{row}" in case:
            error = max(error, _distance(found.final, case[f"mask_logits.{row}"]))
    passed = error <= LOGITS_TOLERANCE and _same_attention(model, case)
    return CaseResult(name, "logits", error, passed)


def _train_case(
    model: Self1eModel, name: str, case: dict[str, Tensor], grids: list[tuple[int, int]]
) -> CaseResult:
    output = model(
        grids=grids,
        prompts_per_image=[1] * len(grids),
        input_ids=case["input_ids"],
        attention_mask=case["attention_mask"],
        position_ids=case.get("position_ids"),
        labels=case["labels"],
        masks=[reduce_target(case[f"gt_masks.{row}"].float()) for row in range(len(grids))],
        pixel_values=case["pixel_values"],
    )
    found = dict(zip(_LOSSES, (output.loss, output.ce, output.bce, output.dice), strict=True))
    errors = [
        abs(float(found[key] - case[key])) / max(abs(float(case[key])), 1e-12)
        for key in _LOSSES
        if key in case
    ]
    if not errors:
        raise ParityError(f"Case {name} has none of {', '.join(_LOSSES)}")
    error = max(errors)
    return CaseResult(
        name, "losses", error, error <= LOSS_TOLERANCE and _same_attention(model, case)
    )


def _distance(found: Tensor, wanted: Tensor) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    return float((found - wanted).abs().max()) if found.numel() else 0.0


def _same_attention(model: Self1eModel, case: dict[str, Tensor]) -> bool:
    wanted = case.get("attention_blocked_4d")
    if wanted is None:
        return True
    found = blocked_attention(
        case["input_ids"],
        case["attention_mask"],
        model.config.image_token_id,
        model.config.seg_token_id,
    )
    return torch.equal(found, wanted.bool())
