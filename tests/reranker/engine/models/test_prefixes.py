"""The prefix cache: bounded, and the one used longest ago goes first."""

import numpy as np
import torch

from reranker.engine.models.heads import KeysValues
from reranker.engine.models.prefixes import Layers, PrefixCache


def prefix(first: int, length: int) -> np.ndarray:
    return np.arange(first, first + length, dtype=np.int32)


def layers() -> Layers:
    return [KeysValues(torch.zeros(1), torch.zeros(1))]


def test_what_was_put_is_got_by_its_ids() -> None:
    cache = PrefixCache(100)
    one, other = layers(), layers()
    cache.put(prefix(0, 5), one)
    cache.put(prefix(0, 6), other)
    assert cache.get(prefix(0, 5)) is one
    assert cache.get(prefix(0, 6)) is other
    assert cache.get(prefix(1, 5)) is None


def test_the_one_used_longest_ago_leaves_when_tokens_run_out() -> None:
    cache = PrefixCache(10)
    cache.put(prefix(0, 5), layers())
    cache.put(prefix(100, 5), layers())
    assert cache.get(prefix(0, 5)) is not None  # used: the other one is older now
    cache.put(prefix(200, 5), layers())
    assert cache.get(prefix(0, 5)) is not None
    assert cache.get(prefix(100, 5)) is None


def test_a_prefix_put_twice_counts_once() -> None:
    cache = PrefixCache(10)
    for _ in range(5):
        cache.put(prefix(0, 5), layers())
    cache.put(prefix(100, 5), layers())
    assert cache.get(prefix(0, 5)) is not None
    assert cache.get(prefix(100, 5)) is not None


def test_a_prefix_longer_than_the_cache_is_kept_until_the_next() -> None:
    cache = PrefixCache(10)
    cache.put(prefix(0, 20), layers())
    assert cache.get(prefix(0, 20)) is not None
    cache.put(prefix(100, 3), layers())
    assert cache.get(prefix(0, 20)) is None
