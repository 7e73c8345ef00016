"""What annotators have taught: an image, a prompt and the mask that belongs to it."""

import hashlib
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from backend.errors import AnnotationError

SampleKind = Literal["accepted", "drawn", "negative"]
"""How the mask came about: accepted from a prompt (edited or not), drawn by hand, or the annotator
left nothing of what was prompted, and the mask is empty."""

_COMPRESSION = 6
_NAMED_TASKS = 10


@dataclass(frozen=True)
class PackedMask:
    """A mask in little memory: `bits` are zlib's of a bit per pixel, row by row."""

    height: int
    width: int
    bits: bytes

    @classmethod
    def pack(cls, mask: NDArray[np.bool_]) -> "PackedMask":
        """Packs a bool mask (H, W)."""
        height, width = mask.shape
        return cls(height, width, zlib.compress(np.packbits(mask).tobytes(), _COMPRESSION))

    def unpack(self) -> NDArray[np.bool_]:
        """The mask, bool (H, W)."""
        packed = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        pixels = np.unpackbits(packed, count=self.height * self.width)
        return pixels.astype(np.bool_).reshape(self.height, self.width)


@dataclass(frozen=True)
class TrainingSample:
    """One prompt about one task's image, and the mask that answers it.

    `image_url` is the task's own value, not yet resolved, for `fetch(image_url, task_id=task_id)`
    of a LabelStudioFiles or ExportImages. `label` is what the region carries, empty for none.
    `packed` is None for a negative: its mask is empty, of whatever size the image has.
    """

    task_id: int
    image_url: str
    prompt: str
    label: str
    kind: SampleKind
    packed: PackedMask | None = None

    def mask(self, height: int, width: int) -> NDArray[np.bool_]:
        """The mask for the image, which has been fetched by now.

        Args:
            height: of the upright image, in pixels.
            width: of the upright image, in pixels.

        Returns:
            bool (H, W).

        Raises:
            AnnotationError: The mask was made for an image of another size.
        """
        if self.packed is None:
            return np.zeros((height, width), dtype=np.bool_)
        if (self.packed.height, self.packed.width) != (height, width):
            raise AnnotationError(
                f"The mask of task {self.task_id} is {self.packed.width} x {self.packed.height}, "
                f"but its image {width} x {height}: was the image replaced?"
            )
        return self.packed.unpack()

    @property
    def digest(self) -> bytes:
        """SHA-256 of all that training sees of this sample."""
        digest = hashlib.sha256()
        fields = (str(self.task_id), self.image_url, self.prompt, self.label, self.kind)
        for field in fields:
            encoded = field.encode(errors="surrogatepass")
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        if self.packed is not None:
            digest.update(f"{self.packed.height} x {self.packed.width}".encode())
            digest.update(zlib.decompress(self.packed.bits))
        return digest.digest()


@dataclass(frozen=True)
class LeftOut:
    """How many things were left out for one reason, and the first tasks they are in."""

    count: int
    task_ids: tuple[int, ...]


@dataclass(frozen=True)
class CollectedSamples:
    """The samples of a project or an export, by task and prompt; equal data gives equal samples.

    `annotations` is how many annotations they come from. `left_out` is by reason, the most frequent
    first. `annotators_rule` says whose annotation counts where a task has several.
    """

    samples: tuple[TrainingSample, ...]
    left_out: Mapping[str, LeftOut]
    annotations: int
    annotators_rule: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the samples, whatever their order."""
        digests = sorted(sample.digest for sample in self.samples)
        return hashlib.sha256(b"".join(digests)).hexdigest()


class LeftOutTally:
    """Counts what is left out while annotations are read."""

    def __init__(self) -> None:
        self._counts = Counter[str]()
        self._task_ids: dict[str, dict[int, None]] = {}

    def add(self, reason: str, task_id: int | None) -> None:
        """Counts one thing, of a task or of none."""
        self._counts[reason] += 1
        tasks = self._task_ids.setdefault(reason, {})
        if task_id is not None and len(tasks) < _NAMED_TASKS:
            tasks[task_id] = None

    def left_out(self) -> dict[str, LeftOut]:
        """What was counted, the most frequent reason first."""
        return {
            reason: LeftOut(count, tuple(self._task_ids[reason]))
            for reason, count in sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        }


def sorted_samples(samples: Sequence[TrainingSample]) -> tuple[TrainingSample, ...]:
    """By task, prompt and label."""
    return tuple(sorted(samples, key=lambda each: (each.task_id, each.prompt, each.label)))
