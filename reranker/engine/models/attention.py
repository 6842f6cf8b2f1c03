"""Attention over packed sequences, each going on from a shared prefix or from nothing.

Two ways to compute the same: matrix products over blocks of like lengths (any device; on CPUs faster than torch's
fused kernel), and torch's varlen kernel (CUDA). A causal pass needs no padding mask: padding stands on the right,
where no token looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from reranker.engine.models.heads import Attention, Heads, KeysValues
from reranker.engine.models.packed import Block, Sequences, blocks
from reranker.engine.models.transfer import on_device

# Attention scores of a block, all heads: 2 MB of float32, which a core's cache holds; a GPU wants large blocks.
_CPU_BLOCK_SCORES, _GPU_BLOCK_SCORES = 2**19, 2**26
# oneDNN makes a kernel for each shape it has not seen: lengths in steps are few, and soon all are known.
_CPU_LENGTH_STEP = 8


def attention_over(sequences: Sequences, heads: Heads, *, causal: bool, like: Tensor) -> Attention:
    """The fastest way for the device and dtype of `like`."""
    if _has_varlen(like, heads):
        from reranker.engine.models.varlen import VarlenAttention

        return VarlenAttention(sequences, heads, causal=causal, device=like.device)
    return BlockAttention(sequences, heads, causal=causal, device=like.device)


def _has_varlen(like: Tensor, heads: Heads) -> bool:
    """The kernel wants a GPU from Ampere on, half precision, and heads of a size it was built for."""
    return (
        like.is_cuda
        and like.dtype in (torch.bfloat16, torch.float16)
        and torch.cuda.get_device_capability(like.device) >= (8, 0)
        and heads.size % 8 == 0
        and heads.size <= 256
    )


class BlockAttention:
    """Scores of a block as one batched product, softmax in float32. See Attention."""

    def __init__(self, sequences: Sequences, heads: Heads, *, causal: bool, device: torch.device) -> None:
        self._heads = heads
        self._scale = 1 / math.sqrt(heads.size)
        on_cpu = device.type == "cpu"
        scores, step = (_CPU_BLOCK_SCORES, _CPU_LENGTH_STEP) if on_cpu else (_GPU_BLOCK_SCORES, 1)
        self._blocks = [
            _DeviceBlock(block, sequences.lengths[block.first : block.last], device)
            for block in blocks(sequences, scores // heads.query, step)
        ]
        keys = max(block.before + block.longest for block in self._blocks)
        self._future = torch.full((keys, keys), -math.inf, device=device).triu_(1) if causal else None

    def all_tokens(self, qkv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        query, key, size = self._heads
        outputs = []
        for block in self._blocks:
            x = block.padded(qkv)  # (sequences, longest, heads, size)
            count, longest = x.shape[:2]
            # Query heads that share a key head become rows of one product.
            q = x[:, :, :query].reshape(count, longest, key, query // key, size).permute(0, 2, 3, 1, 4)
            mask = block.padding
            if self._future is not None:
                mask = self._future[block.before : block.before + longest, : block.before + longest]
            out = self._attend(q.reshape(count * key, -1, size), x[:, :, query:], block, prefixes, mask)
            out = out.view(count, query, longest, size).transpose(1, 2).reshape(count * longest, query * size)
            outputs.append(block.packed(out))
        if below := len(qkv) - self._blocks[-1].end:  # rows that belong to no sequence
            outputs.append(qkv.new_zeros(below, query * size))
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]

    def one_token(self, q: Tensor, kv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        query, key, size = self._heads
        outputs = []
        for block in self._blocks:
            x = block.padded(kv)
            rows = q[block.first : block.last].reshape(-1, query // key, size)
            outputs.append(self._attend(rows, x, block, prefixes, block.padding).view(-1, query * size))
        return torch.cat(outputs)

    def _attend(
        self, q: Tensor, kv: Tensor, block: _DeviceBlock, prefixes: Sequence[KeysValues], mask: Tensor | None
    ) -> Tensor:
        """q: (sequences * key heads, rows, size); kv: (sequences, longest, 2 * key heads, size). Returns q's shape.

        mask: added to scores of shape (sequences, query heads, tokens, keys).
        """
        key = self._heads.key
        keys, values = kv[:, :, :key].transpose(1, 2), kv[:, :, key:].transpose(1, 2)
        if block.slot >= 0:
            prefix = prefixes[block.slot]
            keys = torch.cat((prefix.keys.expand(len(kv), -1, -1, -1), keys), 2)
            values = torch.cat((prefix.values.expand(len(kv), -1, -1, -1), values), 2)
        keys, values = keys.reshape(len(q), -1, q.shape[2]), values.reshape(len(q), -1, q.shape[2])
        scores = torch.baddbmm(q.new_empty(1).expand(1, 1, 1), q, keys.transpose(1, 2), beta=0, alpha=self._scale)
        scores = scores.float()
        if mask is not None:
            scores.view(len(kv), self._heads.query, -1, scores.shape[2]).add_(mask)
        return torch.bmm(torch.softmax(scores, -1).to(q.dtype), values)


class _DeviceBlock:
    """A Block with its indexes on the device, and what turns packed rows into padded ones and back.

    padding: float32 (sequences, 1, 1, keys), -inf where there is no token; None where there is no padding.
    """

    def __init__(self, block: Block, lengths: np.ndarray, device: torch.device) -> None:
        self.first, self.last, self.slot, self.before = block.first, block.last, block.slot, block.before
        self.longest = block.longest
        self._start, self.end = block.start, block.end
        self._rows = self._kept = self.padding = None
        if block.rows is not None and block.kept is not None:
            self._rows = on_device(block.rows, device)
            self._kept = on_device(block.kept, device)
            absent = np.arange(block.before + block.longest) >= block.before + lengths[:, None]
            self.padding = on_device(np.where(absent, -np.inf, 0).astype(np.float32), device)[:, None, None]

    def padded(self, rows: Tensor) -> Tensor:
        """(tokens, heads, size) -> (sequences, longest, heads, size)"""
        mine = rows[self._start : self.end] if self._rows is None else rows.index_select(0, self._rows)
        return mine.view(self.last - self.first, self.longest, *rows.shape[1:])

    def packed(self, rows: Tensor) -> Tensor:
        """(sequences * longest, width) -> (tokens of the block, width)"""
        return rows if self._kept is None else rows.index_select(0, self._kept)
