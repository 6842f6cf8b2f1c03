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

from reranker.engine.memory import CPU_BLOCK_SCORES, CPU_LONG_SCORES, GPU_BLOCK_SCORES, GPU_LONG_SCORES
from reranker.engine.models.heads import Attention, Heads, KeysValues
from reranker.engine.models.linear import fuses
from reranker.engine.models.packed import Block, Sequences, blocks
from reranker.engine.models.transfer import on_device

# oneDNN compiles a kernel for every new shape: rounding the lengths up keeps the number of shapes small.
_CPU_LENGTH_STEP = 8
_MIN_WINDOW_ROWS = 64

# Some columns of the scores, and what is added to them; None if nothing is.
_Mask = tuple[slice, Tensor | None]


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
        max_scores: int | None = None,
    ) -> None:
        """window: see `attention_over`. bias: added to the scores of `all_tokens`, float32 (1 or query heads, n, n),
        where n is at least `longest_block`; not with prefixes. scale: of the scores, by default 1 / sqrt(head size).
        softcap: scores x become softcap * tanh(x / softcap) before anything is added, as in Gemma 2.
        max_scores: how many are computed at once for a long sequence; by default what `MemoryPlan` counts on.
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
        self._max_scores = max_scores or (CPU_LONG_SCORES if on_cpu else GPU_LONG_SCORES)
        if window is not None and window >= max(block.longest for block in self._blocks):
            window = None
        self._window, self._bias = window, bias
        rows = max(self._rows_at_once(block) for block in self._blocks)
        self._causal_mask = torch.full((rows, rows), -math.inf, device=device).triu_(1) if causal else None
        self._window_mask = None if window is None else _window_mask(window, rows, device)

    def all_tokens(self, qkv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        query, key, size = self._heads
        outputs = []
        for block in self._blocks:
            x = block.pad(qkv)  # (sequences, longest, heads, size)
            count, longest = x.shape[:2]
            keys, values = self._keys_values(x[:, :, query:], block, prefixes)
            parts, step = [], self._rows_at_once(block)
            for start in range(0, longest, step):
                rows = slice(start, min(start + step, longest))
                seen, masks = self._seen(block, rows)
                # Query heads that share a key head become rows of the same product.
                q = x[:, rows, :query].reshape(count, -1, key, query // key, size).permute(0, 2, 3, 1, 4)
                out = self._attend(q.reshape(count * key, -1, size), keys[:, seen], values[:, seen], masks)
                parts.append(out.view(count, query, -1, size).transpose(1, 2))
            out = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
            outputs.append(block.unpad(out.reshape(count * longest, query * size)))
        if extra := len(qkv) - self._blocks[-1].end:  # rows of pad_rows, which belong to no sequence
            outputs.append(qkv.new_zeros(extra, query * size))
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]

    def one_token(self, q: Tensor, kv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        query, key, size = self._heads
        outputs = []
        for block in self._blocks:
            x = block.pad(kv)
            rows = q[block.first : block.last].reshape(-1, query // key, size)
            keys, values = self._keys_values(x, block, prefixes)
            masks = [(slice(None), block.padding)]
            outputs.append(self._attend(rows, keys, values, masks).view(-1, query * size))
        return torch.cat(outputs)

    def _rows_at_once(self, block: _DeviceBlock) -> int:
        """Tokens of a sequence whose scores are computed at once: all, unless they would fill memory."""
        scores_of_a_row = (block.last - block.first) * self._heads.query * (block.prefix_length + block.longest)
        rows = min(block.longest, max(1, self._max_scores // scores_of_a_row))
        if self._window is not None and block.longest > 4 * self._window:  # most scores would be far apart
            rows = min(rows, max(2 * self._window, _MIN_WINDOW_ROWS))
        return rows

    def _seen(self, block: _DeviceBlock, rows: slice) -> tuple[slice, list[_Mask]]:
        """The keys that tokens `rows` of a block's sequences attend to, and what is added to their scores."""
        past, count = block.prefix_length, rows.stop - rows.start
        if self._causal_mask is not None:
            return slice(past + rows.stop), [(slice(past + rows.start, None), self._causal_mask[:count, :count])]
        first, last = 0, past + block.longest
        masks: list[_Mask] = []
        if self._window is not None and self._window_mask is not None:
            before = rows.start - self._window  # the key of the mask's first column
            first, last = max(0, before), min(last, rows.stop + self._window)
            masks.append((slice(None), self._window_mask[:count, first - before : last - before]))
        if self._bias is not None:
            masks.append((slice(None), self._bias[:, rows, :last]))
        if block.padding is not None:
            masks.append((slice(None), block.padding[..., first:last]))
        return slice(first, last), masks

    def _keys_values(self, kv: Tensor, block: _DeviceBlock, prefixes: Sequence[KeysValues]) -> tuple[Tensor, Tensor]:
        """kv: (sequences, longest, 2 * key heads, size). Returns two of (sequences * key heads, tokens, size)."""
        key, size = self._heads.key, self._heads.size
        keys, values = kv[:, :, :key].transpose(1, 2), kv[:, :, key:].transpose(1, 2)
        if block.prefix >= 0:
            prefix = prefixes[block.prefix]
            keys = torch.cat((prefix.keys.expand(len(kv), -1, -1, -1), keys), 2)
            values = torch.cat((prefix.values.expand(len(kv), -1, -1, -1), values), 2)
        keys, values = keys.reshape(len(kv) * key, -1, size), values.reshape(len(kv) * key, -1, size)
        if kv.device.type == "cpu" and not fuses(kv.dtype, kv.device):
            # Without instructions for half precision float32 is faster, and no score is rounded.
            return keys.float(), values.float()
        return keys, values

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor, masks: Sequence[_Mask]) -> Tensor:
        """q: (sequences * key heads, rows, size). keys, values: (sequences * key heads, keys, size). Shaped like q.

        masks: added to scores of shape (sequences, query heads, tokens, keys).
        """
        dtype = q.dtype
        rows = q.to(keys.dtype)
        scores = torch.baddbmm(
            rows.new_empty(1).expand(1, 1, 1), rows, keys.transpose(1, 2), beta=0, alpha=self._scale
        )
        scores = scores.float()
        if self._softcap is not None:
            scores.div_(self._softcap).tanh_().mul_(self._softcap)
        by_head = scores.view(len(q) // self._heads.key, self._heads.query, -1, scores.shape[2])
        for columns, mask in masks:
            if mask is not None:
                by_head[..., columns].add_(mask)
        return torch.bmm(torch.softmax(scores, -1).to(values.dtype), values).to(dtype)


def longest_block(lengths: np.ndarray, device: torch.device) -> int:
    """The largest padded length of a block over sequences of these lengths without prefixes."""
    step = _CPU_LENGTH_STEP if device.type == "cpu" else 1
    return math.ceil(int(lengths.max()) / step) * step


def _window_mask(window: int, rows: int, device: torch.device) -> Tensor:
    """float32 (rows, rows + 2 * window): -inf where a key is too far. The first one is `window` before the rows."""
    position = torch.arange(rows + 2 * window, device=device)
    is_far = (position[:rows, None] + window - position).abs() > window
    return torch.zeros(is_far.shape, device=device).masked_fill_(is_far, -math.inf)


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
