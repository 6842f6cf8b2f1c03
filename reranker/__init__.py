"""Exact reranking with cross-encoders: `from reranker import Reranker`.

This package is pure: it never imports ray, fastapi, or the two shells around it (`deployments`, `cluster`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reranker.rerank import Reranker
    from reranker.types import ScoredCandidate

__all__ = ["Reranker", "ScoredCandidate"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, and most of the package (settings, trec, types) does without it.
    if name == "Reranker":
        from reranker.rerank import Reranker

        return Reranker
    if name == "ScoredCandidate":
        from reranker.types import ScoredCandidate

        return ScoredCandidate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
