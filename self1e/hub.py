"""Where a model's files are: bundled, in a directory, or on the Hugging Face hub.

Never imports torch, so that the answer comes at once.
"""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

DEMO_MODEL = Path(__file__).parent / "demo_model"


class CheckpointError(Exception):
    """The model could not be found or does not fit this architecture."""


def find_checkpoint(model: str | Path) -> Path:
    """The directory of a model, downloaded if it is a hub id.

    Args:
        model: "demo" (bundled), a directory, or a hub id "owner/name" or "owner/name/folder".

    Raises:
        CheckpointError: there is no such model, or the hub cannot be reached.
    """
    directory = DEMO_MODEL if model == "demo" else Path(model).expanduser()
    if not directory.is_dir():
        directory = _download(str(model))
    if not (directory / "config.json").is_file():
        nested = sorted(path.parent.name for path in directory.glob("*/config.json"))
        hint = f" Its folders {', '.join(nested)} do: add one to the name." if nested else ""
        raise CheckpointError(f"{directory} has no config.json.{hint}")
    return directory


def _download(model: str) -> Path:
    parts = model.split("/")
    if len(parts) < 2 or not all(parts) or model.startswith((".", "~")):
        raise CheckpointError(
            f"There is no directory {model!r}. Give demo, a directory with config.json, "
            "or a hub id such as UltraDoughnut/SELF1E."
        )
    repository, folder = "/".join(parts[:2]), "".join(f"{part}/" for part in parts[2:])
    try:
        # A repository may hold several models: first what tells them apart, then one's weights.
        root = snapshot_download(repository, allow_patterns=["*.json", "*.txt"])
        directory = Path(root, folder)
        if (directory / "config.json").is_file():
            snapshot_download(
                repository,
                allow_patterns=[f"{folder}*.safetensors"],
                ignore_patterns=[f"{folder}*/*"],
            )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{model!r} is no directory here and could not be downloaded from the hub: {error}"
        ) from error
    return directory
