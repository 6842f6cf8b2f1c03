"""Attention over packed sequences with torch's varlen kernel: CUDA, half precision.

The keys and values of its prefix are copied in front of each sequence's own, so that the kernel sees one sequence.
Window (-1, 0) is causal attention that aligns the last query with the last key.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from reranker.engine.models.heads import Heads, KeysValues
from reranker.engine.models.packed import Sequences
from reranker.engine.models.transfer import on_device
from reranker.pairs import offsets

_PARAMETERS = inspect.signature(varlen_attn).parameters
_HAS_WINDOW_SIZE = "window_size" in _PARAMETERS  # torch 2.11 has is_causal instead
_HAS_GQA = "enable_gqa" in _PARAMETERS


class VarlenAttention:
    """See Attention."""

    def __init__(
        self,
        sequences: Sequences,
        heads: Heads,
        *,
        causal: bool,
        device: torch.device,
        window: int | None = None,
    ) -> None:
        """window: see `attention_over`."""
        self._heads = heads
        self._window = window
        self._causal = causal
        lengths = sequences.lengths
        keys = lengths + sequences.prefix_lengths
        self._max_queries, self._max_keys = int(lengths.max()), int(keys.max())
        self._starts = on_device(sequences.starts.astype(np.int32), device)
        self._key_starts = on_device(offsets(keys).astype(np.int32), device)
        self._one_token_starts = torch.arange(len(sequences) + 1, dtype=torch.int32, device=device)
        self._key_rows = on_device(key_rows(sequences), device) if sequences.prefix_lengths.any() else None

    def all_tokens(self, qkv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        query = self._heads.query
        return self._attend(qkv[:, :query], qkv[:, query:], prefixes, self._starts, self._max_queries, self._causal)

    def one_token(self, q: Tensor, kv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        return self._attend(q, kv, prefixes, self._one_token_starts, 1, causal=False)

    def _attend(
        self,
        q: Tensor,
        kv: Tensor,
        prefixes: Sequence[KeysValues],
        starts: Tensor,
        max_queries: int,
        causal: bool,
    ) -> Tensor:
        key = self._heads.key
        if self._key_rows is not None:
            kv = torch.cat((*map(_rows, prefixes), kv)).index_select(0, self._key_rows)
        keys, values = kv[:, :key], kv[:, key:]
        options: dict[str, Any] = {}
        if self._window is not None and max_queries > 1:
            options["window_size"] = (self._window, self._window)
        if causal:
            options |= {"window_size": (-1, 0)} if _HAS_WINDOW_SIZE else {"is_causal": True}
        if self._heads.query != key:
            if _HAS_GQA:
                options["enable_gqa"] = True
            else:
                keys, values = (x.repeat_interleave(self._heads.query // key, 1) for x in (keys, values))
        out: Any = varlen_attn(q, keys, values, starts, self._key_starts, max_queries, self._max_keys, **options)
        attended: Tensor = out.reshape(len(q), -1)
        return attended


def _rows(prefix: KeysValues) -> Tensor:
    """(tokens, 2 * key heads, head size)"""
    return torch.cat((prefix.keys, prefix.values)).transpose(0, 1)


def key_rows(sequences: Sequences) -> np.ndarray:
    """Rows of each sequence's keys, its prefix first, in all prefixes and tokens concatenated: int64 (keys,)."""
    sizes = np.zeros(int(sequences.prefix_of.max()) + 1, dtype=np.int64)
    has_prefix = sequences.prefix_of >= 0
    sizes[sequences.prefix_of[has_prefix]] = sequences.prefix_lengths[has_prefix]
    prefix_starts = offsets(sizes)
    rows = []
    for n, prefix in enumerate(sequences.prefix_of):
        if prefix >= 0:
            rows.append(np.arange(prefix_starts[prefix], prefix_starts[prefix + 1]))
        rows.append(prefix_starts[-1] + np.arange(sequences.starts[n], sequences.starts[n + 1]))
    return np.concatenate(rows)
