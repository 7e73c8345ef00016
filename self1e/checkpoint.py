"""Loading and saving checkpoints, ours and published ones. Safetensors only."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.initialization import no_init_weights

from self1e import published
from self1e.hub import CheckpointError as CheckpointError
from self1e.hub import find_checkpoint
from self1e.model import Self1eConfig, Self1eModel
from self1e.predictor import Predictor
from self1e.prompt import IMAGE_TOKEN, SEG_TOKEN, SEGT_TOKEN, PromptEncoder
from self1e.weights import fill_model, tensor_shapes

BASE_TOKENIZER = "OpenGVLab/InternVL3-2B"


def load_model(
    directory: Path, *, device: torch.device, dtype: torch.dtype
) -> tuple[Self1eModel, PreTrainedTokenizerBase | None]:
    """Loads a checkpoint of either layout and its tokenizer, strictly.

    Weights go tensor by tensor to the device, so that no second copy of the model is held.

    Returns:
        The model in evaluation mode, and the tokenizer, None if a published-layout directory that
        names its token ids in config.json comes without one.

    Raises:
        CheckpointError: unreadable files, or missing or unexpected weights (all are listed).
    """
    try:
        config = _read_config(directory)
        shapes = tensor_shapes(directory)
        is_published = config["model_type"] == published.MODEL_TYPE
        tokenizer = _load_tokenizer(directory, config)
        self1e_config = (
            _published_config(config, shapes, tokenizer)
            if is_published
            else Self1eConfig.from_pretrained(directory)
        )
        with _default_dtype(dtype), torch.device(device), no_init_weights():
            model = Self1eModel(self1e_config)
        model.tie_weights()
        fill_model(model, directory, rename=published.rename if is_published else None)
    except KeyError as error:
        raise CheckpointError(f"{directory} cannot be loaded: a file lacks {error}") from error
    except (OSError, ValueError, SafetensorError, StrictDataclassError) as error:
        raise CheckpointError(f"{directory} cannot be loaded: {error}") from error
    model.eval()
    return model, tokenizer


def load_predictor(
    model: str | Path, *, device: str = "auto", dtype: str = "auto", max_tiles: int = 1
) -> Predictor:
    """Loads a model ready to segment.

    Args:
        model: "demo" (bundled), a directory, or a hub id.
        device: "auto" (CUDA if there is one), "cpu", "cuda" or "cuda:N".
        dtype: "auto" (bfloat16 on CUDA, float32 elsewhere), "float32" or "bfloat16".
        max_tiles: most tiles an image is cut into.

    Raises:
        CheckpointError: no such model, or it does not fit.
    """
    directory = find_checkpoint(model)
    chosen = choose_device(device)
    loaded, tokenizer = load_model(directory, device=chosen, dtype=choose_dtype(dtype, chosen))
    if tokenizer is None:
        raise CheckpointError(f"{directory} has no tokenizer, so no prompt can be read")
    try:
        encoder = PromptEncoder(tokenizer, loaded.config.tile_tokens)
    except ValueError as error:
        raise CheckpointError(f"{directory}: {error}") from error
    config_ids = (loaded.config.image_token_id, loaded.config.seg_token_id)
    if (encoder.image_token_id, encoder.seg_token_id) != config_ids:
        raise CheckpointError(
            f"{directory} is of two models: its tokenizer gives the image token and [SEG] the ids "
            f"{encoder.image_token_id} and {encoder.seg_token_id}, its configuration "
            f"{config_ids[0]} and {config_ids[1]}"
        )
    return Predictor(loaded, encoder, max_tiles=max_tiles)


def device_name(device: str) -> str:
    """The one name of a device that has several: "cpu" or "cuda:N".

    Raises:
        CheckpointError: there is no such device.
    """
    chosen = choose_device(device)
    return chosen.type if chosen.type == "cpu" else f"{chosen.type}:{chosen.index or 0}"


def choose_device(device: str) -> torch.device:
    """The device of a name, "auto" being CUDA if there is one.

    Raises:
        CheckpointError: there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise CheckpointError(f"Device {device!r} is asked for but torch sees no CUDA device")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise CheckpointError(f"There is no device {device!r}. Give auto, cpu or cuda:N") from error


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype of a name, "auto" being bfloat16 on CUDA and float32 elsewhere.

    Raises:
        CheckpointError: the name is none of auto, float32 and bfloat16.
    """
    chosen = {
        "auto": torch.bfloat16 if device.type == "cuda" else torch.float32,
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
    }.get(dtype)
    if chosen is None:
        raise CheckpointError(f"There is no dtype {dtype!r}. Give auto, float32 or bfloat16")
    return chosen


def save_model(model: Self1eModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Writes config.json, model.safetensors and the tokenizer, in the model's dtype."""
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def _read_config(directory: Path) -> dict[str, Any]:
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    model_type = config.get("model_type") if isinstance(config, dict) else None
    supported = (Self1eConfig.model_type, published.MODEL_TYPE)
    if model_type not in supported:
        raise CheckpointError(
            f"{directory} is no SELF1E model: config.json has the model_type {model_type!r}, "
            f"not {' or '.join(supported)}"
        )
    return dict(config)


def _load_tokenizer(directory: Path, config: dict[str, Any]) -> PreTrainedTokenizerBase | None:
    if any((directory / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        source = str(directory)
    elif "seg_token_id" in config and "img_context_token_id" in config:
        return None
    else:
        source = BASE_TOKENIZER
    # With a config of its own, transformers does not look for one of a type that it knows, nor ask
    # at the terminal whether it may run code that comes with the weights.
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        source, config=PreTrainedConfig(), trust_remote_code=False
    )
    missing = [
        token
        for token in (SEG_TOKEN, SEGT_TOKEN)
        if config["model_type"] == published.MODEL_TYPE and token not in tokenizer.get_vocab()
    ]
    tokenizer.add_tokens(missing, special_tokens=True)
    return tokenizer


def _published_config(
    config: dict[str, Any],
    shapes: dict[str, list[int]],
    tokenizer: PreTrainedTokenizerBase | None,
) -> Self1eConfig:
    if published.EMBEDDING_NAME not in shapes:
        raise CheckpointError(f"The weights have no {published.EMBEDDING_NAME}")

    def token_id(field: str, token: str) -> int:
        if field in config:
            return int(config[field])
        if tokenizer is None or token not in tokenizer.get_vocab():
            raise CheckpointError(f"Neither config.json ({field}) nor the tokenizer knows {token}")
        return tokenizer.get_vocab()[token]

    return published.convert_config(
        config,
        vocab_size=shapes[published.EMBEDDING_NAME][0],
        tied=published.LM_HEAD_NAME not in shapes,
        seg_token_id=token_id("seg_token_id", SEG_TOKEN),
        image_token_id=token_id("img_context_token_id", IMAGE_TOKEN),
    )


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
