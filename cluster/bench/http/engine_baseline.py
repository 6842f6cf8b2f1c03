"""The engine without a server: the graph's checkpoint and engine settings in one process of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple, Self

from reranker.fidelity import VerifiedEngine, load_verified
from reranker.settings import CheckpointSettings, EngineSettings
from reranker.types import Passage


class Timing(NamedTuple):
    """Seconds that one request took, and the number of tokens of its pairs."""

    tokenizing_s: float
    scoring_s: float
    tokens: int


class EngineBaseline:
    """An engine in another process, which exits at the end of the `with` block."""

    def __init__(self, checkpoint: CheckpointSettings, settings: EngineSettings) -> None:
        self._process = ProcessPoolExecutor(1, get_context("spawn"), _load, (checkpoint, settings))

    def rerank(self, query: str, documents: Sequence[str]) -> Timing:
        return self._process.submit(_rerank, query, documents).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.shutdown(cancel_futures=True)


_loaded: VerifiedEngine


def _load(checkpoint: CheckpointSettings, settings: EngineSettings) -> None:
    global _loaded
    _loaded = load_verified(checkpoint, settings)


def _rerank(query: str, documents: Sequence[str]) -> Timing:
    started = time.perf_counter()
    pairs = _loaded.encoder.encode(query, [Passage(document) for document in documents])
    tokenized = time.perf_counter()
    pairs.candidate_scores(_loaded.engine.score(pairs))
    return Timing(tokenized - started, time.perf_counter() - tokenized, int(pairs.lengths.sum()))
