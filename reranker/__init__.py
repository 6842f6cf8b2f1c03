"""Exact reranking with cross-encoders: `from reranker import Reranker`.

This package is pure: it never imports ray, fastapi, or the two shells around it (`deployments`, `cluster`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reranker.errors import (
    CheckpointError,
    EmptyField,
    FidelityError,
    InvalidField,
    NonFiniteLogit,
    PairTooLong,
    RerankerError,
)
from reranker.types import ScoredCandidate
from reranker.version import __version__

if TYPE_CHECKING:
    from reranker.rerank import Reranker

__all__ = [
    "CheckpointError",
    "EmptyField",
    "FidelityError",
    "InvalidField",
    "NonFiniteLogit",
    "PairTooLong",
    "Reranker",
    "RerankerError",
    "ScoredCandidate",
    "__version__",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: torch takes seconds, and most of the package (settings, trec, types) does without it.
    if name == "Reranker":
        from reranker.rerank import Reranker

        return Reranker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
