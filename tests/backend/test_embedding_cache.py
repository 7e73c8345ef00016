from dataclasses import dataclass

from backend.embedding_cache import EmbeddingCache


@dataclass(frozen=True)
class Value:
    nbytes: int


def test_those_unused_for_longest_make_room() -> None:
    cache: EmbeddingCache[Value] = EmbeddingCache(100)
    values = {name: Value(40) for name in ("a", "b", "c")}
    cache.put("a", values["a"])
    cache.put("b", values["b"])
    assert cache.get("a") is values["a"]
    cache.put("c", values["c"])
    assert cache.get("b") is None
    assert cache.get("a") is values["a"]
    assert cache.get("c") is values["c"]
    assert cache.nbytes == 80


def test_a_value_that_fills_it_is_kept_and_a_larger_one_is_not() -> None:
    cache: EmbeddingCache[Value] = EmbeddingCache(100)
    small, full = Value(1), Value(100)
    cache.put("small", small)
    cache.put("larger", Value(101))
    assert cache.get("larger") is None
    assert cache.get("small") is small
    cache.put("full", full)
    assert cache.get("full") is full
    assert cache.get("small") is None


def test_an_equal_digest_is_counted_once() -> None:
    cache: EmbeddingCache[Value] = EmbeddingCache(100)
    for _ in range(3):
        cache.put("a", Value(60))
    assert cache.nbytes == 60


def test_no_memory_keeps_nothing() -> None:
    cache: EmbeddingCache[Value] = EmbeddingCache(0)
    cache.put("a", Value(1))
    assert cache.get("a") is None
