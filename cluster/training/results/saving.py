"""Errors of those that write weights: each has its own for a full disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from reranker.errors import CannotWrite


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Around code that only writes. Raises CannotWrite for what the system, safetensors or torch.save raise."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise CannotWrite(f"{path} cannot be written, perhaps for want of space: {reason}") from error
