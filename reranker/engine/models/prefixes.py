"""Keys and values of query prefixes, kept from batch to batch.

All candidates of a query go on from the same tokens, and a causal model computes those once. Prefixes are known by
their token ids, so shards of one request, and later requests with the same query, share them too.
"""

from __future__ import annotations

from collections import OrderedDict

from reranker.engine.models.heads import KeysValues
from reranker.pairs import IntArray

Layers = list[KeysValues]  # one entry a layer


class PrefixCache:
    """The prefixes used last, at most `max_tokens` in all (or one). Not thread-safe."""

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._tokens = 0
        self._kept: OrderedDict[bytes, Layers] = OrderedDict()

    def get(self, ids: IntArray) -> Layers | None:
        key = ids.tobytes()
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, ids: IntArray, layers: Layers) -> None:
        """ids: int32 (tokens,). A prefix that is there already stays as it is."""
        if self.get(ids) is not None:
            return
        self._kept[ids.tobytes()] = layers
        self._tokens += len(ids)
        while self._tokens > self._max_tokens and len(self._kept) > 1:
            key, _ = self._kept.popitem(last=False)
            self._tokens -= len(key) // ids.itemsize

    def clear(self) -> None:
        self._kept.clear()
        self._tokens = 0
