"""The scorer deployment: one accelerator, one engine, one queue."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NoReturn

import ray
from torch import AcceleratorError

from deployments.scoring_loop import STALL_TIMEOUT_S, LoopStopped, ScoringLoop
from deployments.settings import TracingSettings
from deployments.tokenizer import encode_shard
from deployments.tracing import open_spans
from reranker.engine.device_thread import device_thread
from reranker.engine.warm_up import warm_up
from reranker.errors import DeadlineExceeded, DocumentError
from reranker.fidelity import load_verified
from reranker.pairs import DevicePass, EncodedPairs, EncodedShard, FloatArray, ShardScores
from reranker.settings import CheckpointSettings, ScorerSettings
from reranker.types import ModelDescription, PairOptions, Passage, Query, RequestContext

log = logging.getLogger("ray.serve")

_VERIFY_EVERY_S = 10.0


class Scorer:
    """The constructor loads the weights and replays the golden scores; it raises rather than serve a wrong model."""

    def __init__(
        self, checkpoint: CheckpointSettings, engine: ScorerSettings, tracing: TracingSettings | None = None
    ) -> None:
        started = time.monotonic()
        self._spans = open_spans(tracing, "scorer")
        self._device = device_thread()
        threads = engine.threads or _assigned_cores()
        settings = engine.model_copy(update={"threads": threads})
        self._loaded = self._device.submit(load_verified, checkpoint, settings).result()
        loaded, encoder = self._loaded.engine, self._loaded.encoder
        self._budget = self._device.submit(warm_up, loaded, encoder, engine.max_pass_s).result()
        self._loop = self._new_loop(loaded.score)
        self._verification: asyncio.Task[None] | None = None
        self._verified_at = -_VERIFY_EVERY_S
        self._start_s = time.monotonic() - started

    async def score(self, shard: EncodedShard, context: RequestContext) -> ShardScores:
        """One shard's scores.

        Raises DeadlineExceeded, Unavailable, and a DocumentError with the index of a candidate.
        """
        if self._spans is None or not context.traceparent:
            return await self._score(shard, context)
        with self._spans.scoring(context.traceparent) as passes:
            return await self._score(shard, context, passes)

    async def _score(
        self, shard: EncodedShard, context: RequestContext, passes: list[DevicePass] | None = None
    ) -> ShardScores:
        pairs = shard.pairs
        try:
            logits, work = await self._loop.score_and_account(
                context._replace(timeout_s=context.timeout_s - shard.encode_s), pairs, passes
            )
        except (LoopStopped, AcceleratorError) as error:
            _exit_unhealthy(error)
        except DocumentError as error:
            await self._exit_if_unhealthy()
            raise error.at(int(pairs.candidate_of[error.index])) from None
        except DeadlineExceeded:
            raise
        except Exception:
            await self._exit_if_unhealthy()
            raise
        if self._loaded.engine.shares_prefixes:
            work = replace(work, shared_tokens=pairs.repeated_prefix_tokens)
        return ShardScores(pairs.candidate_scores(logits), self._loop.throughput.tokens_per_s, work)

    async def score_texts(
        self, query: Query, passages: Sequence[Passage], options: PairOptions, context: RequestContext
    ) -> ShardScores:
        """Like `score`, for a shard so small that it is tokenized here."""
        if self._spans is None or not context.traceparent:
            shard = await encode_shard(self._loaded.encoder, query, passages, options)
        else:
            with self._spans.encoding(context.traceparent, len(passages)):
                shard = await encode_shard(self._loaded.encoder, query, passages, options)
        return await self.score(shard, context)

    def __del__(self) -> None:  # called by Serve before it ends the replica
        if spans := getattr(self, "_spans", None):
            spans.close()

    async def describe(self) -> ModelDescription:
        return replace(
            self._loaded.description,
            tokens_per_s=round(self._loop.throughput.tokens_per_s, 1),
            max_batch_tokens=self._budget.tokens,
            pass_ms=round(1000 * self._budget.seconds, 1),
            start_s=round(self._start_s, 1),
        )

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Input of the autoscaling policy: queued tokens, a counter of arrived tokens, and tokens per second."""
        return {
            "backlog_tokens": float(self._loop.backlog_tokens),
            "arrived_tokens": float(self._loop.arrived_tokens),
            "tokens_per_s": self._loop.throughput.tokens_per_s,
        }

    def check_health(self) -> None:
        try:
            self._loop.check()
        except LoopStopped as error:
            _exit_unhealthy(error)

    def _new_loop(
        self, score: Callable[[EncodedPairs], FloatArray], stall_timeout_s: float = STALL_TIMEOUT_S
    ) -> ScoringLoop:
        loop = ScoringLoop(score, self._budget.tokens, self._device, stall_timeout_s, self._loaded.engine.pass_tokens)
        loop.throughput.observe(self._budget.tokens, self._budget.seconds)
        return loop

    async def _exit_if_unhealthy(self) -> None:
        """Replay the golden scores: a failed pass is the fault of its input or of this replica.

        All callers wait for the same check.
        """
        if self._verification is None and time.monotonic() - self._verified_at >= _VERIFY_EVERY_S:
            self._verification = asyncio.create_task(self._verify())
        if self._verification is not None:
            await asyncio.shield(self._verification)

    async def _verify(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._device, self._loaded.verify)
        except Exception as error:  # a FidelityError, or what made the pass fail
            _exit_unhealthy(error)
        finally:
            self._verified_at = time.monotonic()
            self._verification = None


def _exit_unhealthy(reason: Exception) -> NoReturn:
    """Exit at once, so that callers retry elsewhere and Serve starts another replica.

    A replica that fails fast has a short queue, which would draw all work to it until a health check removes it.
    After an AcceleratorError this process cannot use its GPU any more.
    """
    log.critical("replica unhealthy, exiting: %s", reason)
    os._exit(1)


def _assigned_cores() -> int | None:
    """Whole cores that Ray assigned to this replica; None for a fraction of one: the engine then uses all cores."""
    return int(ray.get_runtime_context().get_assigned_resources().get("CPU", 0)) or None
