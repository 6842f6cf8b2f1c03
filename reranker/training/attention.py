"""Attention over blocks of packed sequences with a backward of its own.

The engine's attention can be differentiated as it stands, but then every block's slice of the packed rows gets a
gradient as large as all rows, filled with zeros and added up: work that grows with the square of the tokens. Here
each block writes its rows of one gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reranker.engine.memory import CPU_BLOCK_SCORES, GPU_BLOCK_SCORES
from reranker.engine.models.attention import attention_over, has_varlen
from reranker.engine.models.heads import Attention, Heads, KeysValues
from reranker.engine.models.packed import Block, Sequences, blocks
from reranker.engine.models.transfer import on_device

_CPU_LENGTH_STEP = 8  # oneDNN compiles a kernel for every new shape


def trainable_attention(sequences: Sequences, heads: Heads, *, causal: bool, like: Tensor) -> Attention:
    """torch's varlen kernel where there is one, which has a backward; else blocks."""
    if has_varlen(like.device, like.dtype, heads.size):
        return attention_over(sequences, heads, causal=causal, like=like)
    return TrainableBlocks(sequences, heads, causal=causal, device=like.device)


class TrainableBlocks:
    """Blocks of like lengths: softmax in float32, products in the dtype of the rows. See Attention."""

    def __init__(self, sequences: Sequences, heads: Heads, *, causal: bool, device: torch.device) -> None:
        self._heads = heads
        on_cpu = device.type == "cpu"
        scores, step = (CPU_BLOCK_SCORES, _CPU_LENGTH_STEP) if on_cpu else (GPU_BLOCK_SCORES, 1)
        self._blocks = [
            _Block(block, sequences.lengths[block.first : block.last], causal, device)
            for block in blocks(sequences, scores // heads.query, step)
        ]

    def all_tokens(self, qkv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        if prefixes:
            raise NotImplementedError("whole pairs are trained, which continue no prefix")
        attended: Tensor = _Attend.apply(qkv, self._blocks, self._heads)  # type: ignore[no-untyped-call]
        return attended

    def one_token(self, q: Tensor, kv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        raise NotImplementedError("Hugging Face's layers compute all tokens")


class _Block:
    """A Block with its indices on the device.

    mask: added to scores (sequences, 1, queries or 1, keys), float32; None where every token sees every other.
    """

    def __init__(self, block: Block, lengths: np.ndarray, causal: bool, device: torch.device) -> None:
        self.rows = slice(block.start, block.end)
        self._count, self._longest = block.count, block.longest
        self._index: Tensor | None = None
        mask = np.zeros((1, 1, 1, self._longest), dtype=np.float32)
        if block.unpad_index is not None:
            self._index = on_device(block.unpad_index, device)
            mask = np.where(np.arange(self._longest) < lengths[:, None], 0, -np.inf).astype(np.float32)[:, None, None]
        if causal:  # padding is on the right, where no token looks
            mask = np.triu(np.full((self._longest, self._longest), -np.inf, dtype=np.float32), 1)[None, None]
        self.mask = on_device(mask, device) if np.any(mask) else None

    def pad(self, rows: Tensor) -> Tensor:
        """All rows (tokens, heads, size) -> this block's (sequences, heads, longest, size), zeros as padding."""
        own = rows[self.rows]
        if self._index is not None:
            padded = own.new_zeros(self._count * self._longest, *own.shape[1:])
            own = padded.index_copy_(0, self._index, own)
        return own.view(self._count, self._longest, *own.shape[1:]).transpose(1, 2)

    def unpad(self, padded: Tensor, out: Tensor) -> None:
        """(sequences, heads, longest, size) -> this block's rows of `out`, (tokens, heads, size)."""
        rows = padded.transpose(1, 2).reshape(-1, padded.shape[1], padded.shape[3])
        out[self.rows] = rows if self._index is None else rows.index_select(0, self._index)


class _Attend(torch.autograd.Function):
    """(tokens, query + 2 * key heads, size) -> (tokens, query heads * size)."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, parts: Sequence[_Block], heads: Heads) -> Tensor:
        out = qkv.new_zeros(len(qkv), heads.query, heads.size)
        saved = []
        for block in parts:
            q, keys, values = _split(block.pad(qkv), heads)
            scores = torch.bmm(q, keys.transpose(1, 2)).float().mul_(1 / math.sqrt(heads.size))
            if block.mask is not None:
                _by_head(scores, heads, keys.shape[1]).add_(block.mask)
            weights = torch.softmax(scores, -1).to(qkv.dtype)
            block.unpad(_by_head(torch.bmm(weights, values), heads, keys.shape[1]), out)
            saved.append(weights)
        ctx.save_for_backward(qkv, *saved)
        ctx.parts, ctx.heads = parts, heads
        return out.view(len(qkv), -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        heads: Heads = ctx.heads
        qkv, *saved = ctx.saved_tensors
        d_out = grads[0].view(len(qkv), heads.query, heads.size)
        d_qkv = torch.zeros_like(qkv)
        for block, weights in zip(ctx.parts, saved, strict=True):
            q, keys, values = _split(block.pad(qkv), heads)
            longest = keys.shape[1]
            d_rows = block.pad(d_out).reshape(q.shape)  # zero at padding, so that padding gives no gradient
            d_values = torch.bmm(weights.transpose(1, 2), d_rows)
            d_weights = torch.bmm(d_rows, values.transpose(1, 2))
            d_scores = torch._softmax_backward_data(d_weights.float(), weights.float(), -1, torch.float32)
            d_scores = d_scores.mul_(1 / math.sqrt(heads.size)).to(qkv.dtype)
            d_q = _by_head(torch.bmm(d_scores, keys), heads, longest)
            d_keys = torch.bmm(d_scores.transpose(1, 2), q)
            d_kv = (part.view(-1, heads.key, longest, heads.size) for part in (d_keys, d_values))
            block.unpad(torch.cat((d_q, *d_kv), 1), d_qkv)
        return d_qkv, None, None


def _split(x: Tensor, heads: Heads) -> tuple[Tensor, Tensor, Tensor]:
    """(sequences, heads, longest, size) -> queries (sequences * key heads, rows, size), keys and values alike.

    Query heads that share a key head become rows of the same product.
    """
    query, key, size = heads
    q = x[:, :query].reshape(len(x) * key, -1, size)
    keys, values = (part.reshape(len(x) * key, -1, size) for part in (x[:, query : query + key], x[:, query + key :]))
    return q, keys, values


def _by_head(x: Tensor, heads: Heads, longest: int) -> Tensor:
    """(sequences * key heads, rows, last) -> (sequences, query heads, longest, last)"""
    return x.view(-1, heads.query, longest, x.shape[-1])
