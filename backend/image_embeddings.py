"""The embeddings of jobs' images: fetched, decoded and encoded, alone or several at once."""

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from backend.embedding_cache import EmbeddingCache
from backend.errors import BackendError
from backend.images import decode_image
from backend.jobs import SegmentJob
from backend.log import log_event
from backend.small_image import SmallImage

logger = logging.getLogger(__name__)

_SMALL_IMAGES_BYTES = 4 * 2**20  # of a hundred images and more


class Embedding(Protocol):
    """An encoded image, as a value."""

    @property
    def nbytes(self) -> int:
        """Memory it holds, in bytes."""


class Encoder(Protocol):
    """The half of the model that encodes images."""

    def encode_images(self, images: Iterator[Image.Image]) -> Sequence[Any]:
        """Encodes upright RGB images, each into an Embedding, in one pass."""


class ImageSource(Protocol):
    """Where images come from: `backend.label_studio.LabelStudioFiles`. Threads share it."""

    def fetch(self, url: str, *, task_id: int | str | None = None) -> bytes:
        """Returns the image file that a task names."""


@dataclass(frozen=True)
class EncodedImage:
    """An image's embedding and what it took; of several images at once, this one's share.

    `digest` is the SHA-256 of the file; `small` is None where only the embedding is still known.
    """

    embedding: Embedding
    small: SmallImage | None
    digest: str
    is_cached: bool
    fetch_seconds: float
    encode_seconds: float


class ImageEmbeddings:
    """Encodes the images of jobs. Not for threads."""

    def __init__(
        self,
        encoder: Encoder,
        images: ImageSource,
        cache: EmbeddingCache[Embedding],
        *,
        max_megapixels: float,
    ) -> None:
        """Keeps its arguments.

        Args:
            encoder: the loaded model.
            images: fetches image files.
            cache: embeddings by the SHA-256 of the image file.
            max_megapixels: largest image, in millions of pixels.
        """
        self._encoder = encoder
        self._images = images
        self._cache = cache
        self._max_megapixels = max_megapixels
        self._small: EmbeddingCache[SmallImage] = EmbeddingCache(_SMALL_IMAGES_BYTES)
        self._prepared: dict[str, EncodedImage | BackendError] = {}

    def of(self, job: SegmentJob) -> EncodedImage:
        """The embedding of a job's image.

        Raises:
            BackendError: the image could not be fetched or decoded.
        """
        if job.id not in self._prepared:
            self._encode([job])
        encoded = self._prepared.pop(job.id)
        if isinstance(encoded, BackendError):
            raise encoded
        return encoded

    def prepare(self, jobs: Sequence[SegmentJob]) -> None:
        """Encodes the images of several jobs at once, for `of`; what fails is raised there.

        What was prepared before and not asked for is forgotten.
        """
        self._prepared.clear()
        self._encode(jobs)
        log_event(logger, logging.INFO, "images encoded together", jobs=len(jobs))

    def _encode(self, jobs: Sequence[SegmentJob]) -> None:
        start = time.monotonic()
        files = self._fetch(jobs)
        fetch_seconds = (time.monotonic() - start) / len(jobs)
        digests = {id_: hashlib.sha256(data).hexdigest() for id_, data in files.items()}
        cached = {digest: self._cache.get(digest) for digest in digests.values()}
        new = {digests[id_]: data for id_, data in files.items() if cached[digests[id_]] is None}
        start = time.monotonic()
        encoded = self._encode_files(new)
        encode_seconds = (time.monotonic() - start) / max(1, len(new))
        for id_, digest in digests.items():
            embedding, small = cached[digest], self._small.get(digest)
            if embedding is not None:
                self._prepared[id_] = EncodedImage(
                    embedding, small, digest, True, fetch_seconds, 0.0
                )
                continue
            result = encoded[digest]
            self._prepared[id_] = (
                result
                if isinstance(result, BackendError)
                else EncodedImage(result, small, digest, False, fetch_seconds, encode_seconds)
            )

    def _fetch(self, jobs: Sequence[SegmentJob]) -> dict[str, bytes]:
        """The jobs' image files by job id, without those that cannot be fetched."""

        def fetch(job: SegmentJob) -> bytes | BackendError:
            try:
                return self._images.fetch(job.image_url, task_id=job.task_id)
            except BackendError as error:
                return error

        if len(jobs) == 1:
            fetched = [fetch(jobs[0])]
        else:
            with ThreadPoolExecutor(len(jobs)) as pool:
                fetched = list(pool.map(fetch, jobs))
        files = {}
        for job, file in zip(jobs, fetched, strict=True):
            if isinstance(file, BackendError):
                self._prepared[job.id] = file
            else:
                files[job.id] = file
        return files

    def _encode_files(self, files: Mapping[str, bytes]) -> dict[str, Embedding | BackendError]:
        """The embeddings of image files by digest, or why there is none."""
        results: dict[str, Embedding | BackendError] = {}
        good: list[str] = []

        def decoded() -> Iterator[Image.Image]:
            # One image at a time is in memory; what the model keeps of it is small.
            for digest, data in files.items():
                try:
                    image = decode_image(data, max_megapixels=self._max_megapixels)
                except BackendError as error:
                    results[digest] = error
                else:
                    good.append(digest)
                    self._small.put(digest, SmallImage.of(image))
                    yield image

        embeddings: Sequence[Embedding] = self._encoder.encode_images(decoded())
        for digest, embedding in zip(good, embeddings, strict=True):
            results[digest] = embedding
            self._cache.put(digest, embedding)
        return results
