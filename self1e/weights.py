"""A directory's safetensors: what is in them, and filling a model with them, strictly."""

import json
from collections.abc import Callable, Collection
from pathlib import Path

from safetensors import safe_open
from torch import Tensor, nn

_LISTED_NAMES = 20


class WeightsError(ValueError):
    """There are no weights that may be loaded, or they do not fit the model."""


def tensor_shapes(directory: Path) -> dict[str, list[int]]:
    """Shape of every stored tensor, by its stored name.

    Raises:
        WeightsError: the directory has no safetensors.
        KeyError: its index has no weight map.
        OSError, SafetensorError: a file is missing or damaged.
    """
    shapes: dict[str, list[int]] = {}
    for path in _weight_files(directory):
        with safe_open(path, framework="pt") as weights:
            names: list[str] = weights.keys()
            shapes |= {name: weights.get_slice(name).get_shape() for name in names}
    return shapes


def fill_model(
    model: nn.Module,
    directory: Path,
    rename: Callable[[str, Tensor], dict[str, Tensor]] | None = None,
) -> None:
    """Copies a directory's weights into a model, tensor by tensor.

    Args:
        model: of the same configuration, on any device, of any dtype, its tied weights tied.
        directory: with model.safetensors or its index and shards.
        rename: gives a stored tensor under the model's names, if these differ.

    Raises:
        WeightsError: missing or unexpected weights or wrong shapes (all are listed).
        KeyError: the index has no weight map.
        OSError, SafetensorError: a file is missing or damaged.
    """
    targets = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
    filled: set[int] = set()
    unexpected, wrong_shape = [], []
    for path in _weight_files(directory):
        with safe_open(path, framework="pt") as weights:
            stored_names: list[str] = weights.keys()
            for stored in stored_names:
                tensor = weights.get_tensor(stored)
                for name, values in (
                    rename(stored, tensor) if rename else {stored: tensor}
                ).items():
                    target = targets.get(name)
                    if target is None:
                        unexpected.append(stored)
                        continue
                    filled.add(target.data_ptr())
                    if target.shape == values.shape:
                        target.data.copy_(values)
                    else:
                        wrong_shape.append(
                            f"{stored} {tuple(values.shape)}, not {tuple(target.shape)}"
                        )
    # Tied weights are one tensor under two names, of which one is stored.
    missing = [name for name, t in model.state_dict().items() if t.data_ptr() not in filled]
    problems = [
        _listing(title, names)
        for title, names in (
            ("missing weights", missing),
            ("unexpected weights", unexpected),
            ("wrong shapes", wrong_shape),
        )
        if names
    ]
    if problems:
        raise WeightsError(f"the weights do not fit the model; {'; '.join(problems)}")


def _listing(title: str, names: Collection[str]) -> str:
    listed = f"{title}: {', '.join(sorted(names)[:_LISTED_NAMES])}"
    more = len(names) - _LISTED_NAMES
    return f"{listed} and {more} more" if more > 0 else listed


def _weight_files(directory: Path) -> list[Path]:
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return [directory / name for name in sorted(names)]
    path = directory / "model.safetensors"
    if not path.is_file():
        raise WeightsError(
            "there is no model.safetensors. Pickled weights are never loaded: convert them"
        )
    return [path]
