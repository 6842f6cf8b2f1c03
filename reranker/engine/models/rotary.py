"""Rotary embeddings: the rotation itself, and which kinds do not depend on the input's length.

Hugging Face rotates dimension i of a head with i + size / 2. Attention does not change when the dimensions of queries
and keys are reordered alike: with each such pair side by side, a rotation is one product of complex numbers.

Source: Su et al., 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor

FIXED_ROPES = frozenset({"default", "linear", "llama3", "yarn"})  # other types depend on the input's length


def unsupported_rope(parameters: dict[str, object]) -> str | None:
    """Why a rope cannot be computed once for all passes; None if it can. parameters: as in a config.json."""
    kind = parameters.get("rope_type", "default")
    if kind not in FIXED_ROPES:
        return f"its rope type is {kind}"
    if parameters.get("partial_rotary_factor") not in (None, 1.0):
        return "it rotates only a part of each head"
    return None


def rotations(tables: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Cosines and sines as `rotate_` takes them, (positions, 1, size / 2), of Hugging Face's (1, positions, size)."""
    cos, sin = (table[0, :, None, : table.shape[-1] // 2].contiguous() for table in tables)
    return cos, sin


def rotate_(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Apply rotary embeddings in place. x: (tokens, heads, size); cos, sin: (tokens, 1, size / 2)."""
    left, right = x.chunk(2, -1)
    rotated = (left * cos).addcmul_(right, sin, value=-1)
    right.mul_(cos).addcmul_(left, sin)
    left.copy_(rotated)


def paired(size: int) -> Tensor:
    """The order of a head's dimensions that puts every pair side by side: int64 (size,)."""
    return torch.arange(size).view(2, -1).T.reshape(-1)


def pair_rotations(tables: tuple[Tensor, Tensor]) -> Tensor:
    """What `rotate_pairs_` takes, complex64 (positions, 1, size / 2), of Hugging Face's tables (see `rotations`)."""
    cos, sin = rotations(tables)
    return torch.complex(cos.float(), sin.float())


def rotate_pairs_(x: Tensor, rotation: Tensor) -> None:
    """Apply rotary embeddings in place to heads in `paired` order, rounded once, at the end.

    x: (tokens, heads, size); rotation: complex64 (tokens, 1, size / 2).
    """
    exact = x if x.dtype is torch.float32 else x.float()
    torch.view_as_complex(exact.view(*x.shape[:-1], -1, 2)).mul_(rotation)
    if exact is not x:
        x.copy_(exact)
