"""Rotary embeddings: the rotation itself, and which kinds do not depend on the input's length.

Source: Su et al., 2021.
"""

from __future__ import annotations

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
