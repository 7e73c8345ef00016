"""What a fine-tuning changes of a model, as a small directory of its own (peft).

LoRA on the linear layers of the language model and, if wanted, of the vision tower; the mask head
in full; and the embedding rows of [SEG] and of chosen other tokens. For inference all of it is
folded into the model's weights, so that serving an adapted model costs what the model costs.
"""

import copy
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.utils import set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from self1e.checkpoint import load_predictor
from self1e.hub import CheckpointError
from self1e.model import Self1eModel
from self1e.predictor import Predictor

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_LANGUAGE, _VISION = "language_model", "vision_tower"
_MASK_HEAD, _PROJECTOR = "mask_head", "multi_modal_projector"
_TOKENS, _TOKEN_ROWS = "embed_tokens", "trainable_tokens_delta"
_LISTED_NAMES = 5


class AdapterError(CheckpointError):
    """The adapter cannot be read or does not fit the model."""


@dataclass(frozen=True)
class AdapterOptions:
    """What of a model is trained."""

    rank: int = 32
    """Rank of the LoRA matrices."""
    alpha: int = 64
    """Their product is scaled by alpha / rank."""
    dropout: float = 0.05
    """Share of a LoRA layer's inputs that a step leaves out, 0..1."""
    vision: bool = False
    """Whether the vision tower's layers are trained too."""
    projector: bool = False
    """Whether the projector is trained too, in full: a narrow one drops what it was not taught."""


def add_adapter(
    model: Self1eModel,
    options: AdapterOptions,
    token_ids: Collection[int],
    parent: Path | None = None,
) -> PeftModel:
    """Puts a trainable adapter on a model; until it is trained, the answers stay the same.

    Args:
        model: the base model, which is changed.
        options: what is trained; with a parent, rank, alpha and dropout are the parent's.
        token_ids: tokens whose embedding is trained, apart from [SEG] and the parent's.
        parent: directory of the adapter to go on from.

    Raises:
        AdapterError: the parent cannot be read or does not fit the model.
    """
    before = None if parent is None else _read_config(parent)
    tokens = {int(id_) for id_ in token_ids} | {model.config.seg_token_id}
    tokens |= set() if before is None else set(_token_ids(before))
    vision_before = before is not None and _VISION in str(before.target_modules)
    whole = _whole_modules(options, before)
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in whole:
            # Small updates would be lost in half precision; autocast still computes in it.
            module.float()
    adapted = _wrap(
        model,
        LoraConfig(
            r=options.rank if before is None else before.r,
            lora_alpha=options.alpha if before is None else before.lora_alpha,
            lora_dropout=options.dropout if before is None else before.lora_dropout,
            target_modules=_linear_layers(model, vision=options.vision or vision_before),
            modules_to_save=whole,
            trainable_token_indices={_TOKENS: sorted(tokens)},
        ),
    )
    if parent is not None and before is not None:
        _continue_from(adapted, parent, _token_ids(before), sorted(tokens))
    if vision_before and not options.vision:
        model.internvl.model.vision_tower.requires_grad_(False)
    return adapted


def save_adapter(adapted: PeftModel, directory: Path) -> None:
    """Writes adapter_config.json and adapter_model.safetensors, nothing else."""
    with _quiet():
        adapted.save_pretrained(str(directory), save_embedding_layers=False)
    (directory / "README.md").unlink(missing_ok=True)


def adapter_state(adapted: PeftModel) -> dict[str, Tensor]:
    """A copy on the CPU of what `save_adapter` would write, by the same names."""
    return {name: each.detach().cpu().clone() for name, each in _adapter_state(adapted).items()}


def blend_adapter(directory: Path, before: Mapping[str, Tensor], share: float) -> None:
    """Takes a part of a training back: weights are moved towards what they were.

    Args:
        directory: of the trained adapter, which is changed.
        before: its weights before it was trained (`adapter_state`).
        share: how much of the change stays, 0..1.

    Raises:
        AdapterError: the adapter cannot be read.
    """
    after = _read_weights(directory)
    blended = {name: before[name].lerp(each, share) for name, each in after.items()}
    save_file(blended, directory / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def merge_adapter(model: Self1eModel, directory: Path) -> Self1eModel:
    """Folds an adapter into a base model's weights, which are changed.

    Args:
        model: with the weights that the adapter was trained on.
        directory: of the adapter.

    Returns:
        The model, in evaluation mode, in its own dtype, without a trace of peft.

    Raises:
        AdapterError: the adapter cannot be read, does not fit the model, or holds no numbers.
    """
    config = _read_config(directory)
    try:
        adapted = _wrap(model, config)
    except (ValueError, KeyError) as error:
        raise AdapterError(f"{directory} does not fit the model: {error}") from error
    expected, stored = _adapter_state(adapted), _read_weights(directory)
    _check_fit(directory, stored, expected, complete=True)
    _fill(adapted, stored)
    try:
        merged = adapted.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise AdapterError(f"{directory} holds values that are no numbers: {error}") from error
    assert isinstance(merged, Self1eModel)
    merged.requires_grad_(False)
    merged.eval()
    return merged


def load_adapted(
    model: str | Path,
    adapter: Path | None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    max_tiles: int = 1,
) -> Predictor:
    """Loads a model as `self1e.checkpoint.load_predictor` does, with an adapter folded in, if any.

    Raises:
        CheckpointError: no such model, or it or the adapter does not fit.
    """
    predictor = load_predictor(model, device=device, dtype=dtype, max_tiles=max_tiles)
    if adapter is not None:
        predictor.model = merge_adapter(predictor.model, adapter)
    return predictor


def adapt(base: Predictor, adapter: Path) -> Predictor:
    """A copy of a loaded model with an adapter folded in; the base stays as it is, for others.

    Raises:
        AdapterError: the adapter cannot be read or does not fit.
    """
    model = merge_adapter(copy.deepcopy(base.model), adapter)
    return Predictor(model, base.encoder, max_tiles=base.max_tiles, batch_size=base.batch_size)


def _whole_modules(options: AdapterOptions, before: LoraConfig | None) -> list[str]:
    """Names of what is trained in full."""
    wanted = {_MASK_HEAD, *([_PROJECTOR] if options.projector else [])}
    return sorted(wanted | set((before and before.modules_to_save) or ()))


def _linear_layers(model: Self1eModel, *, vision: bool) -> str:
    """A regular expression of the names of the linear layers that LoRA goes on."""
    towers = (_LANGUAGE, _VISION) if vision else (_LANGUAGE,)
    leaves = {
        name.rpartition(".")[2]
        for tower in towers
        for name, module in model.internvl.model.get_submodule(tower).named_modules()
        if isinstance(module, nn.Linear)
    }
    return rf"internvl\.model\.({'|'.join(towers)})\..*\.({'|'.join(sorted(leaves))})"


def _token_ids(config: LoraConfig) -> list[int]:
    indices = config.trainable_token_indices
    return [int(id_) for id_ in indices[_TOKENS]] if isinstance(indices, dict) else []


def _wrap(model: Self1eModel, config: LoraConfig) -> PeftModel:
    with _quiet():
        adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)
    return adapted


def _read_config(directory: Path) -> LoraConfig:
    # peft would look for a missing file on the hub.
    if not (directory / ADAPTER_CONFIG).is_file():
        raise AdapterError(f"{directory} is no adapter: it has no {ADAPTER_CONFIG}")
    try:
        config = LoraConfig.from_pretrained(str(directory))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise AdapterError(f"{directory / ADAPTER_CONFIG} cannot be read: {error}") from error
    if not isinstance(config, LoraConfig):
        raise AdapterError(f"{directory} is an adapter of another kind than LoRA")
    config.inference_mode = False
    return config


def _read_weights(directory: Path) -> dict[str, Tensor]:
    try:
        return load_file(directory / ADAPTER_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"{directory / ADAPTER_WEIGHTS} cannot be read: {error}") from error


def _adapter_state(adapted: PeftModel) -> dict[str, Tensor]:
    with _quiet():
        state: dict[str, Tensor] = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    return state


def _continue_from(
    adapted: PeftModel, parent: Path, ids_before: list[int], ids_now: list[int]
) -> None:
    """Copies a parent's weights in; tokens that it did not train keep their rows."""
    now, stored = _adapter_state(adapted), _read_weights(parent)
    for name, rows in stored.items():
        if name.endswith(_TOKEN_ROWS) and name in now and len(rows) == len(ids_before):
            place = torch.tensor([ids_now.index(id_) for id_ in ids_before])
            stored[name] = now[name].detach().cpu().index_copy(0, place, rows.to(now[name].dtype))
    _check_fit(parent, stored, now, complete=False)
    _fill(adapted, now | stored)


def _fill(adapted: PeftModel, stored: dict[str, Tensor]) -> None:
    with _quiet():
        set_peft_model_state_dict(adapted, stored)


def _check_fit(
    directory: Path, stored: dict[str, Tensor], expected: dict[str, Tensor], *, complete: bool
) -> None:
    missing = expected.keys() - stored.keys() if complete else set()
    wrong = {n for n in stored.keys() & expected.keys() if stored[n].shape != expected[n].shape}
    problems = [
        f"{title}: {', '.join(sorted(names)[:_LISTED_NAMES])} ({len(names)})"
        for title, names in (
            ("missing weights", missing),
            ("unexpected weights", stored.keys() - expected.keys()),
            ("wrong shapes", wrong),
        )
        if names
    ]
    if problems:
        raise AdapterError(f"{directory} does not fit the model; {'; '.join(problems)}")


@contextmanager
def _quiet() -> Iterator[None]:
    """peft asks transformers for what the latter renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, message=re.escape("`is_gradient"))
        yield
