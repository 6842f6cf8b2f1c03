"""The scorer deployment: one accelerator, one engine, one queue."""

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

import ray
from torch import AcceleratorError

from deployments.scoring_loop import LoopStopped, ScoringLoop
from reranker.engine.device_thread import device_thread
from reranker.errors import FidelityError, NonFiniteLogit
from reranker.fidelity import VerifiedEngine, load_verified
from reranker.pairs import EncodedPairs, ShardScores
from reranker.settings import CheckpointSettings, EngineSettings
from reranker.types import ModelDescription, Passage, RequestContext, Truncation

log = logging.getLogger("ray.serve")

_VERIFY_EVERY_S = 10.0


class Scorer:
    """Construction loads the weights and replays the golden scores; it raises rather than serve a wrong model."""

    def __init__(self, checkpoint: CheckpointSettings, engine: EngineSettings) -> None:
        self._device = device_thread()
        threads = engine.threads or _own_cores()
        settings = engine.model_copy(update={"threads": threads})
        self._loaded = self._device.submit(load_verified, checkpoint, settings).result()
        self._loop = ScoringLoop(self._loaded.engine.score, self._loaded.engine.max_batch_tokens, self._device)
        self._loop.throughput.observe(*self._device.submit(_time_full_batch, self._loaded).result())
        self._verification: asyncio.Task[None] | None = None
        self._verified_at = -_VERIFY_EVERY_S

    async def score(self, pairs: EncodedPairs, context: RequestContext) -> ShardScores:
        """One shard's scores. Raises DeadlineExceeded, and NonFiniteLogit with the index of a candidate."""
        try:
            logits = await self._loop.score(context, pairs)
        except (LoopStopped, AcceleratorError) as error:
            _leave(error)
        except NonFiniteLogit as error:
            await self._leave_if_ill()
            raise NonFiniteLogit(int(pairs.candidate_of[error.index])) from None
        return ShardScores(pairs.candidate_scores(logits), self._loop.throughput.tokens_per_s)

    async def score_texts(
        self, query: str, passages: Sequence[Passage], truncation: Truncation, context: RequestContext
    ) -> ShardScores:
        """As `score`, of a shard so small that it is tokenized here."""
        pairs = await asyncio.to_thread(self._loaded.encoder.encode, query, passages, truncation)
        return await self.score(pairs, context)

    async def describe(self) -> ModelDescription:
        return replace(self._loaded.description, tokens_per_s=round(self._loop.throughput.tokens_per_s, 1))

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What the autoscaling policy decides by: tokens that wait, tokens that ever came, and tokens a second."""
        return {
            "backlog_tokens": float(self._loop.backlog_tokens),
            "arrived_tokens": float(self._loop.arrived_tokens),
            "tokens_per_s": self._loop.throughput.tokens_per_s,
        }

    def check_health(self) -> None:
        try:
            self._loop.check()
        except LoopStopped as error:
            _leave(error)

    async def _leave_if_ill(self) -> None:
        """The model gave no number: is it the input or this replica? All callers wait for the same answer."""
        if self._verification is None and time.monotonic() - self._verified_at >= _VERIFY_EVERY_S:
            self._verification = asyncio.create_task(self._verify())
        if self._verification is not None:
            await asyncio.shield(self._verification)

    async def _verify(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._device, self._loaded.verify)
        except FidelityError as error:
            _leave(error)
        finally:
            self._verified_at = time.monotonic()
            self._verification = None


def _leave(why: Exception) -> NoReturn:
    """An ill replica ends at once, so that its callers go elsewhere and Serve starts another.

    Until a health check removed it, its short queue would draw all the work to it. After an AcceleratorError nothing
    on that GPU works in this process any more.
    """
    log.critical("this replica is ill, and ends: %s", why)
    os._exit(1)


def _time_full_batch(loaded: VerifiedEngine) -> tuple[int, float]:
    """(tokens, seconds) of a batch as large as any will be: memory that is too small shows now, not under load."""
    limit = loaded.encoder.max_pair_tokens
    passages = [Passage("word " * limit)] * max(1, loaded.engine.max_batch_tokens // limit)
    pairs = loaded.encoder.encode("warm up", passages)
    loaded.engine.score(pairs)
    started = time.perf_counter()
    loaded.engine.score(pairs)
    return int(pairs.lengths.sum()), time.perf_counter() - started


def _own_cores() -> int | None:
    """The whole cores Ray gave this replica; None for a fraction of one, which then means all of the machine."""
    return int(ray.get_runtime_context().get_assigned_resources().get("CPU", 0)) or None
