"""Names of model versions: what Label Studio sees, and what keeps predictions of models apart.

Never imports torch: the web process must know the name before any worker has loaded the model.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub.constants import HF_HUB_CACHE

import self1e

_DIGEST_CHARACTERS = 8
_SAMPLED_BLOCKS = 64
_BLOCK_BYTES = 64 * 1024


def model_version(model: str) -> str:
    """The name of a model's version, for example demo-1a2b3c4d.

    Args:
        model: "demo" (bundled), a directory, or a hub id. A hub id that was not downloaded yet
            gives its bare name; the downloaded revision is part of the name from then on.
    """
    if model == "demo":
        return f"demo-{_digest(Path(self1e.__file__).parent / 'demo_model')}"
    directory = Path(model).expanduser()
    if directory.is_dir():
        return f"{directory.resolve().name}-{_digest(directory)}"
    owner, _, rest = model.partition("/")
    name, _, folder = rest.partition("/")
    revision = _cached_revision(owner, name)
    return "-".join(part for part in (folder.replace("/", "-") or name, revision) if part)


def _digest(directory: Path) -> str:
    """Digest of a checkpoint's configuration and weights; no answer depends on other files."""
    digest = hashlib.sha256()
    for path in sorted([*directory.glob("*.json"), *directory.glob("model*.safetensors")]):
        digest.update(path.name.encode())
        for block in _blocks(path):
            digest.update(block)
    return digest.hexdigest()[:_DIGEST_CHARACTERS]


def _blocks(path: Path) -> Iterator[bytes]:
    """The file's size and content; of a file over 4 MiB, 64 blocks of 64 KiB spread evenly.

    The first holds the header (names, shapes, offsets). Reading 16 GB to name them would take
    minutes; training touches weights everywhere, so the blocks tell trained versions apart.
    """
    size = path.stat().st_size
    yield str(size).encode()
    with path.open("rb") as file:
        if size <= _SAMPLED_BLOCKS * _BLOCK_BYTES:
            yield file.read()
            return
        for index in range(_SAMPLED_BLOCKS):
            file.seek(index * (size - _BLOCK_BYTES) // (_SAMPLED_BLOCKS - 1))
            yield file.read(_BLOCK_BYTES)


def _cached_revision(owner: str, name: str) -> str:
    """First digits of the commit of the downloaded main branch, empty if there is none."""
    reference = Path(HF_HUB_CACHE) / f"models--{owner}--{name}" / "refs" / "main"
    return reference.read_text()[:_DIGEST_CHARACTERS] if reference.is_file() else ""
