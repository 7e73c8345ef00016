"""Image embeddings of the images asked about last, so that a second prompt skips the heavy half."""

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """A value that knows the memory it holds."""

    @property
    def nbytes(self) -> int:
        """Memory it holds, in bytes."""


Embedding = TypeVar("Embedding", bound=Sized)


class EmbeddingCache(Generic[Embedding]):
    """Keeps the values used last, as many as fit into a number of bytes. Not for threads."""

    def __init__(self, max_bytes: int) -> None:
        """Starts empty; `max_bytes` 0 keeps nothing."""
        self._max_bytes = max_bytes
        self._embeddings: OrderedDict[str, Embedding] = OrderedDict()
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """Memory that all values hold, in bytes."""
        return self._nbytes

    def get(self, digest: str) -> Embedding | None:
        """The value of this digest, now the one used last, or None."""
        embedding = self._embeddings.get(digest)
        if embedding is not None:
            self._embeddings.move_to_end(digest)
        return embedding

    def put(self, digest: str, embedding: Embedding) -> None:
        """Keeps a value, dropping those unused for longest; one larger than the cache is not kept.

        Args:
            digest: of the content the value was made from, so that equal digests mean equal values.
            embedding: the value.
        """
        if digest in self._embeddings or embedding.nbytes > self._max_bytes:
            return
        self._embeddings[digest] = embedding
        self._nbytes += embedding.nbytes
        while self._nbytes > self._max_bytes:
            _, dropped = self._embeddings.popitem(last=False)
            self._nbytes -= dropped.nbytes
