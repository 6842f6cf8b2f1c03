"""Attention over packed sequences, each of which may continue a shared prefix.

Two implementations give the same results: matrix products over blocks of similar lengths (any device; on CPUs faster
than torch's fused kernel), and torch's varlen kernel (CUDA). A causal pass needs no padding mask: padding is on the
right, and no token attends to its right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from reranker.engine.memory import CPU_BLOCK_SCORES, GPU_BLOCK_SCORES
from reranker.engine.models.heads import Attention, Heads, KeysValues
from reranker.engine.models.linear import fuses
from reranker.engine.models.packed import Block, Sequences, blocks
from reranker.engine.models.transfer import on_device

# oneDNN compiles a kernel for every new shape: rounding the lengths up keeps the number of shapes small.
_CPU_LENGTH_STEP = 8


class MakeAttention(Protocol):
    """Chooses the attention of a pass, as `attention_over` does."""

    def __call__(
        self,
        sequences: Sequences,
        heads: Heads,
        *,
        causal: bool,
        like: Tensor,
        window: int | None = None,
        scale: float | None = None,
        softcap: float | None = None,
    ) -> Attention: ...


def attention_over(
    sequences: Sequences,
    heads: Heads,
    *,
    causal: bool,
    like: Tensor,
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
) -> Attention:
    """The fastest implementation for the device and dtype of `like`.

    window: how many tokens on each side a token attends to; None: all. Not with prefixes, and not causal.
    scale, softcap: see BlockAttention; only it has them.
    """
    if scale is None and softcap is None and has_varlen(like.device, like.dtype, heads.size):
        from reranker.engine.models.varlen import VarlenAttention

        return VarlenAttention(sequences, heads, causal=causal, device=like.device, window=window)
    return BlockAttention(
        sequences, heads, causal=causal, device=like.device, window=window, scale=scale, softcap=softcap
    )


def has_varlen(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """torch's varlen kernel needs an Ampere GPU or newer, half precision, and certain head sizes."""
    return (
        device.type == "cuda"
        and dtype in (torch.bfloat16, torch.float16)
        and torch.cuda.get_device_capability(device) >= (8, 0)
        and head_size % 8 == 0
        and head_size <= 256
    )


class BlockAttention:
    """One batched matrix product per block, softmax in float32. See Attention."""

    def __init__(
        self,
        sequences: Sequences,
        heads: Heads,
        *,
        causal: bool,
        device: torch.device,
        window: int | None = None,
        bias: Tensor | None = None,
        scale: float | None = None,
        softcap: float | None = None,
    ) -> None:
        """window: see `attention_over`. bias: added to the scores of `all_tokens`, float32 (1 or query heads, n, n),
        where n is at least `longest_block`; not with prefixes. scale: of the scores, by default 1 / sqrt(head size).
        softcap: scores x become softcap * tanh(x / softcap) before anything is added, as in Gemma 2.
        """
        self._heads = heads
        self._scale = 1 / math.sqrt(heads.size) if scale is None else scale
        self._softcap = softcap
        on_cpu = device.type == "cpu"
        scores, step = (CPU_BLOCK_SCORES, _CPU_LENGTH_STEP) if on_cpu else (GPU_BLOCK_SCORES, 1)
        self._blocks = [
            _DeviceBlock(block, sequences.lengths[block.first : block.last], device)
            for block in blocks(sequences, scores // heads.query, step)
        ]
        keys = max(block.prefix_length + block.longest for block in self._blocks)
        self._causal_mask = torch.full((keys, keys), -math.inf, device=device).triu_(1) if causal else None
        self._bias = bias if window is None else _window_mask(window, keys, device)

    def all_tokens(self, qkv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        query, key, size = self._heads
        outputs = []
        for block in self._blocks:
            x = block.pad(qkv)  # (sequences, longest, heads, size)
            count, longest = x.shape[:2]
            # Query heads that share a key head become rows of the same product.
            q = x[:, :, :query].reshape(count, longest, key, query // key, size).permute(0, 2, 3, 1, 4)
            masks = [block.padding]
            if self._causal_mask is not None:
                past = block.prefix_length
                masks = [self._causal_mask[past : past + longest, : past + longest]]
            if self._bias is not None:
                masks.append(self._bias[:, :longest, :longest])
            out = self._attend(q.reshape(count * key, -1, size), x[:, :, query:], block, prefixes, masks)
            out = out.view(count, query, longest, size).transpose(1, 2).reshape(count * longest, query * size)
            outputs.append(block.unpad(out))
        if extra := len(qkv) - self._blocks[-1].end:  # rows of pad_rows, which belong to no sequence
            outputs.append(qkv.new_zeros(extra, query * size))
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]

    def one_token(self, q: Tensor, kv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        query, key, size = self._heads
        outputs = []
        for block in self._blocks:
            x = block.pad(kv)
            rows = q[block.first : block.last].reshape(-1, query // key, size)
            outputs.append(self._attend(rows, x, block, prefixes, [block.padding]).view(-1, query * size))
        return torch.cat(outputs)

    def _attend(
        self,
        q: Tensor,
        kv: Tensor,
        block: _DeviceBlock,
        prefixes: Sequence[KeysValues],
        masks: Sequence[Tensor | None],
    ) -> Tensor:
        """q: (sequences * key heads, rows, size); kv: (sequences, longest, 2 * key heads, size). Returns q's shape.

        masks: added to scores of shape (sequences, query heads, tokens, keys).
        """
        key = self._heads.key
        keys, values = kv[:, :, :key].transpose(1, 2), kv[:, :, key:].transpose(1, 2)
        if block.prefix >= 0:
            prefix = prefixes[block.prefix]
            keys = torch.cat((prefix.keys.expand(len(kv), -1, -1, -1), keys), 2)
            values = torch.cat((prefix.values.expand(len(kv), -1, -1, -1), values), 2)
        keys, values = keys.reshape(len(q), -1, q.shape[2]), values.reshape(len(q), -1, q.shape[2])
        dtype = q.dtype
        if q.device.type == "cpu" and not fuses(dtype, q.device):
            # Without instructions for half precision float32 is faster, and scores and probabilities are not rounded.
            q, keys, values = q.float(), keys.float(), values.float()
        scores = torch.baddbmm(q.new_empty(1).expand(1, 1, 1), q, keys.transpose(1, 2), beta=0, alpha=self._scale)
        scores = scores.float()
        if self._softcap is not None:
            scores.div_(self._softcap).tanh_().mul_(self._softcap)
        for mask in masks:
            if mask is not None:
                scores.view(len(kv), self._heads.query, -1, scores.shape[2]).add_(mask)
        return torch.bmm(torch.softmax(scores, -1).to(values.dtype), values).to(dtype)


def longest_block(lengths: np.ndarray, device: torch.device) -> int:
    """The largest padded length of a block over sequences of these lengths without prefixes."""
    step = _CPU_LENGTH_STEP if device.type == "cpu" else 1
    return math.ceil(int(lengths.max()) / step) * step


def _window_mask(window: int, longest: int, device: torch.device) -> Tensor:
    """float32 (1, longest, longest): -inf where tokens are more than `window` apart."""
    position = torch.arange(longest, device=device)
    is_far = (position[:, None] - position).abs() > window
    return torch.zeros(1, longest, longest, device=device).masked_fill_(is_far, -math.inf)


class _DeviceBlock:
    """A Block with its indices on the device; converts packed rows to padded ones and back.

    padding: mask, float32 (sequences, 1, 1, keys), -inf at padding; None if there is none.
    """

    def __init__(self, block: Block, lengths: np.ndarray, device: torch.device) -> None:
        self.first, self.last, self.longest = block.first, block.last, block.longest
        self.prefix, self.prefix_length = block.prefix, block.prefix_length
        self._start, self.end = block.start, block.end
        self._pad_index = self._unpad_index = self.padding = None
        if block.pad_index is not None and block.unpad_index is not None:
            self._pad_index = on_device(block.pad_index, device)
            self._unpad_index = on_device(block.unpad_index, device)
            is_padding = np.arange(block.prefix_length + block.longest) >= block.prefix_length + lengths[:, None]
            self.padding = on_device(np.where(is_padding, -np.inf, 0).astype(np.float32), device)[:, None, None]

    def pad(self, rows: Tensor) -> Tensor:
        """(tokens, heads, size) -> (sequences, longest, heads, size)"""
        own = rows[self._start : self.end] if self._pad_index is None else rows.index_select(0, self._pad_index)
        return own.view(self.last - self.first, self.longest, *rows.shape[1:])

    def unpad(self, rows: Tensor) -> Tensor:
        """(sequences * longest, width) -> (tokens of the block, width)"""
        return rows if self._unpad_index is None else rows.index_select(0, self._unpad_index)
