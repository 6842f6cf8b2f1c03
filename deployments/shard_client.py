"""Sends one shard through tokenizer and scorer, and again when a replica is lost: scoring has no side effects."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.replica_errors import ReplicaLost, translate
from deployments.settings import ShardSettings
from reranker.errors import DocumentError, NonFiniteLogit, Unavailable, UnscorableDocument
from reranker.pairs import CandidateScores, ShardScores, ShardWork
from reranker.scheduling.retry_budget import RetryBudget
from reranker.types import PairOptions, Passage, Query, RequestContext, queries_of

log = logging.getLogger("ray.serve")

_RETRY_PAUSE_S = 0.2
# After so many replicas lost with one shard, its passages are sent one by one: one of them may be what ends them.
_LOSSES_TOGETHER = 2
_CONTROL = ("ready", (Passage("ready"),))


_LOST_AGAIN = "replicas were lost again and again: try later"


class _AttemptTimeout(Exception):
    """No answer in time; the retry is already paid for."""


class ShardClient:
    """All shards share one retry budget, so that a fault does not become a retry storm."""

    def __init__(
        self,
        tokenizer: DeploymentHandle[Any],
        scorer: DeploymentHandle[Any],
        settings: ShardSettings,
        budget: RetryBudget | None = None,
        retry_pause_s: float = _RETRY_PAUSE_S,
        on_retry: Callable[[], None] = lambda: None,
    ) -> None:
        """retry_pause_s: mean pause before the first retry; it doubles with each further one."""
        self._tokenizer = tokenizer
        self._scorer = scorer
        self._settings = settings
        self._budget = budget or RetryBudget()
        self._retry_pause_s = retry_pause_s
        self._on_retry = on_retry

    async def score(
        self,
        query: Query,
        passages: Sequence[Passage],
        options: PairOptions,
        context: RequestContext,
        attempt_timeout_s: float,
    ) -> ShardScores:
        """Scores of one shard. A replica that gives no answer within attempt_timeout_s counts as lost.

        Retried are lost replicas, and once a document that cannot be scored or an unexpected failure: another replica
        may be healthy. Raises what a replica raised (a RerankerError), Overloaded, UnscorableDocument for a passage
        that ends the replicas that score it, or Unavailable when retries or their budget run out. Cancelling cancels
        the calls.
        """
        self._budget.earn()
        started = time.monotonic()
        attempt = losses = 0
        while True:
            attempt += 1
            is_last = attempt > self._settings.max_retries
            attempt_context = context._replace(
                timeout_s=context.timeout_s - (time.monotonic() - started),
                refused_tokens=context.refused_tokens if attempt == 1 else 0,  # demand counts once
            )
            call = self._call(query, passages, options, attempt_context)
            try:
                return await self._within(None if is_last else attempt_timeout_s, call)
            except _AttemptTimeout:
                log.warning("attempt %d at a shard got no answer in %.0f s", attempt, attempt_timeout_s)
            except ReplicaLost as error:
                if is_last:
                    raise Unavailable(_LOST_AGAIN) from error
                await self._prepare_retry(attempt, error)
                losses += 1
                if losses == _LOSSES_TOGETHER:
                    return await self._score_one_by_one(query, passages, options, attempt_context)
            except (NonFiniteLogit, UnscorableDocument, Unavailable) as error:
                if is_last or attempt > 1:
                    raise
                await self._prepare_retry(attempt, error)

    async def _score_one_by_one(
        self, query: Query, passages: Sequence[Passage], options: PairOptions, context: RequestContext
    ) -> ShardScores:
        """Scores of the passages, each in a call of its own, to find the one that ends its replica.

        Raises UnscorableDocument for the passage in whose call a replica was lost if any other call succeeds, and
        Unavailable if none does: then replicas are lost whatever they score.
        """
        answers: list[ShardScores] = []
        suspect: int | None = None
        for index, passage in enumerate(passages):
            try:
                answers.append(
                    await self._call(queries_of(query, slice(index, index + 1)), [passage], options, context)
                )
            except ReplicaLost as error:
                log.warning("a replica was lost while it scored passage %d of a shard alone: %s", index, error)
                suspect = index if suspect is None else suspect
            except DocumentError as error:
                raise error.at(index) from error
            if suspect is not None and answers:
                break
        if suspect is None:
            scores = CandidateScores.concat([answer.scores for answer in answers])
            return ShardScores(
                scores, answers[-1].tokens_per_s, sum((answer.work for answer in answers), ShardWork())
            )
        if not answers:
            try:
                await self._call(*_CONTROL, options, context)
            except ReplicaLost as error:
                raise Unavailable(_LOST_AGAIN) from error
        raise UnscorableDocument(suspect, "the replicas that score it exit")

    async def _prepare_retry(self, attempt: int, error: Exception) -> None:
        """Raises Unavailable when the budget is exhausted."""
        log.warning("attempt %d at a shard failed: %s %s", attempt, type(error).__name__, error)
        if not self._budget.spend():
            raise Unavailable("replicas are lost faster than their work can be sent again: try later") from error
        self._on_retry()
        await asyncio.sleep(self._retry_pause_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311

    async def _within(self, timeout_s: float | None, call: Coroutine[Any, Any, ShardScores]) -> ShardScores:
        """Raises _AttemptTimeout if the budget affords another attempt; if not, all that is left is to wait.

        A replica that is stopped, swapped out or cut off keeps what it was sent, and Serve takes minutes to notice.
        """
        task = asyncio.create_task(call)
        try:
            done, _ = await asyncio.wait({task}, timeout=timeout_s)
            if not done and self._budget.spend():
                self._on_retry()
                raise _AttemptTimeout
            return await task
        finally:
            task.cancel()

    async def _call(
        self, query: Query, passages: Sequence[Passage], options: PairOptions, context: RequestContext
    ) -> ShardScores:
        """Raises a RerankerError or ReplicaLost."""
        calls: list[Any] = []
        try:
            if _chars(query, passages) < self._settings.direct_chars:
                calls = [self._scorer.score_texts.remote(query, passages, options, context)]
            else:
                # The encoded arrays go from tokenizer to scorer without passing through this process.
                pairs = self._tokenizer.encode.remote(query, passages, options, context.traceparent)
                calls = [pairs, self._scorer.score.remote(pairs, context)]
            scores: ShardScores = await calls[-1]
            return scores
        except asyncio.CancelledError:
            for call in calls:
                call.cancel()
            raise
        except Exception as error:
            raise translate(error) from None


def _chars(query: Query, passages: Sequence[Passage]) -> int:
    queries = (query,) if isinstance(query, str) else query
    return sum(map(len, queries)) + sum(passage.chars for passage in passages)
