"""A cache of the keys and values of query prefixes, kept between batches.

All candidates of a query start with the same tokens, and a causal model computes their keys and values only once. The
cache key is the token ids, so shards of one request and later requests with the same query share an entry.
Source of the idea: automatic prefix caching in vLLM; ours caches whole prefixes.
"""

from __future__ import annotations

from collections import OrderedDict

from reranker.engine.models.heads import KeysValues
from reranker.pairs import IntArray

PrefixLayers = list[KeysValues]  # keys and values of one prefix in every layer


class PrefixCache:
    """An LRU cache of at most `max_tokens` prefix tokens, or of one longer prefix. Not thread-safe."""

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._tokens = 0
        self._entries: OrderedDict[bytes, PrefixLayers] = OrderedDict()

    def get(self, ids: IntArray) -> PrefixLayers | None:
        key = ids.tobytes()
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, ids: IntArray, layers: PrefixLayers) -> None:
        """ids: int32 (tokens,). Does nothing if the prefix is cached already."""
        if self.get(ids) is not None:
            return
        self._entries[ids.tobytes()] = layers
        self._tokens += len(ids)
        while self._tokens > self._max_tokens and len(self._entries) > 1:
            key, _ = self._entries.popitem(last=False)
            self._tokens -= len(key) // ids.itemsize

    def clear(self) -> None:
        self._entries.clear()
        self._tokens = 0
