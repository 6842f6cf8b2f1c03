"""Attention over packed sequences through torch's varlen kernel: CUDA, half precision.

Keys and values of a prefix are copied before those of each sequence, which the kernel then reads as one; a window of
(-1, 0) lines the last query up with the last key.
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
_WINDOWS = "window_size" in _PARAMETERS  # torch 2.11 says is_causal instead
_SHARES_KEY_HEADS = "enable_gqa" in _PARAMETERS


class VarlenAttention:
    """See Attention."""

    def __init__(self, sequences: Sequences, heads: Heads, *, causal: bool, device: torch.device) -> None:
        self._heads = heads
        self._causal = causal
        lengths = sequences.lengths
        keys = lengths + sequences.before
        self._longest, self._most_keys = int(lengths.max()), int(keys.max())
        self._starts = on_device(sequences.starts.astype(np.int32), device)
        self._key_starts = on_device(offsets(keys).astype(np.int32), device)
        self._one_each = torch.arange(len(sequences) + 1, dtype=torch.int32, device=device)
        self._source = on_device(key_rows(sequences), device) if sequences.before.any() else None

    def all_tokens(self, qkv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        query = self._heads.query
        return self._attend(qkv[:, :query], qkv[:, query:], prefixes, self._starts, self._longest, self._causal)

    def one_token(self, q: Tensor, kv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        return self._attend(q, kv, prefixes, self._one_each, 1, causal=False)

    def _attend(
        self,
        q: Tensor,
        kv: Tensor,
        prefixes: Sequence[KeysValues],
        starts: Tensor,
        longest: int,
        causal: bool,
    ) -> Tensor:
        key = self._heads.key
        if self._source is not None:
            shared = [torch.cat((prefix.keys, prefix.values)).transpose(0, 1) for prefix in prefixes]
            kv = torch.cat((*shared, kv)).index_select(0, self._source)
        keys, values = kv[:, :key], kv[:, key:]
        options: dict[str, Any] = {}
        if causal:
            options |= {"window_size": (-1, 0)} if _WINDOWS else {"is_causal": True}
        if self._heads.query != key:
            if _SHARES_KEY_HEADS:
                options["enable_gqa"] = True
            else:
                keys, values = (x.repeat_interleave(self._heads.query // key, 1) for x in (keys, values))
        out: Any = varlen_attn(q, keys, values, starts, self._key_starts, longest, self._most_keys, **options)
        attended: Tensor = out.reshape(len(q), -1)
        return attended


def key_rows(sequences: Sequences) -> np.ndarray:
    """int64 (keys,): where each sequence's keys stand when all prefixes, by slot, are laid before all tokens."""
    sizes = np.zeros(int(sequences.slot.max()) + 1, dtype=np.int64)
    used = sequences.slot >= 0
    sizes[sequences.slot[used]] = sequences.before[used]
    prefix_starts = offsets(sizes)
    rows = []
    for n, slot in enumerate(sequences.slot):
        if slot >= 0:
            rows.append(np.arange(prefix_starts[slot], prefix_starts[slot + 1]))
        rows.append(prefix_starts[-1] + np.arange(sequences.starts[n], sequences.starts[n + 1]))
    return np.concatenate(rows)
