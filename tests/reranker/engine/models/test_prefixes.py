"""The prefix cache: bounded, and the least recently used entry is evicted first."""

import numpy as np
import torch

from reranker.engine.models.heads import KeysValues
from reranker.engine.models.prefixes import PrefixCache, PrefixLayers


def prefix(first: int, length: int) -> np.ndarray:
    return np.arange(first, first + length, dtype=np.int32)


def layers() -> PrefixLayers:
    return [KeysValues(torch.zeros(1), torch.zeros(1))]


def test_prefix_cache_finds_entries_by_token_ids() -> None:
    cache = PrefixCache(100)
    one, other = layers(), layers()
    cache.put(prefix(0, 5), one)
    cache.put(prefix(0, 6), other)
    assert cache.get(prefix(0, 5)) is one
    assert cache.get(prefix(0, 6)) is other
    assert cache.get(prefix(1, 5)) is None


def test_prefix_cache_evicts_the_least_recently_used_entry() -> None:
    cache = PrefixCache(10)
    cache.put(prefix(0, 5), layers())
    cache.put(prefix(100, 5), layers())
    assert cache.get(prefix(0, 5)) is not None  # now the other entry is the least recently used
    cache.put(prefix(200, 5), layers())
    assert cache.get(prefix(0, 5)) is not None
    assert cache.get(prefix(100, 5)) is None


def test_prefix_put_twice_counts_once() -> None:
    cache = PrefixCache(10)
    for _ in range(5):
        cache.put(prefix(0, 5), layers())
    cache.put(prefix(100, 5), layers())
    assert cache.get(prefix(0, 5)) is not None
    assert cache.get(prefix(100, 5)) is not None


def test_prefix_longer_than_the_cache_is_kept_until_the_next_one() -> None:
    cache = PrefixCache(10)
    cache.put(prefix(0, 20), layers())
    assert cache.get(prefix(0, 20)) is not None
    cache.put(prefix(100, 3), layers())
    assert cache.get(prefix(0, 20)) is None
