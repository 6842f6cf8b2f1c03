"""Rotary embeddings (Su et al., 2021), rounded as Hugging Face rounds them."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PretrainedConfig


def rotate_(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Apply rotary embeddings in place. x: (tokens, heads, size); cos, sin: (tokens, 1, size / 2)."""
    left, right = x.chunk(2, -1)
    rotated = (left * cos).addcmul_(right, sin, value=-1)
    right.mul_(cos).addcmul_(left, sin)
    left.copy_(rotated)


def rotations(config: PretrainedConfig, positions: int, *, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines by position, each (positions, 1, head size / 2), rounded as Hugging Face rounds them."""
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding  # takes seconds

    rotary = LlamaRotaryEmbedding(config).to(like.device)  # type: ignore[arg-type]
    both = rotary(like, torch.arange(positions, device=like.device)[None])
    cos, sin = (table[0, :, None, : table.shape[-1] // 2].contiguous() for table in both)
    return cos, sin
