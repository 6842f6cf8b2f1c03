"""Sends one shard through tokenizer and scorer, and again where a replica is lost: scoring has no side effects."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine, Sequence
from typing import Any

from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from deployments.replica_errors import cause_of, replica_was_lost
from deployments.settings import ShardSettings
from reranker.errors import NonFiniteLogit, Overloaded, RerankerError, Unavailable
from reranker.pairs import ShardScores
from reranker.scheduling.retry_budget import RetryBudget
from reranker.types import Passage, RequestContext, Truncation

log = logging.getLogger("ray.serve")

_RETRY_PAUSE_S = 0.2
_RETRY_AFTER_S = 1.0


class _Hangs(Exception):
    """An attempt took longer than anything should."""


class ShardClient:
    """All shards share one budget of retries, so that a fault is not answered by a storm."""

    def __init__(
        self, tokenizer: DeploymentHandle[Any], scorer: DeploymentHandle[Any], settings: ShardSettings
    ) -> None:
        self._tokenizer = tokenizer
        self._scorer = scorer
        self._settings = settings
        self._budget = RetryBudget()

    async def score(
        self,
        query: str,
        passages: Sequence[Passage],
        truncation: Truncation,
        context: RequestContext,
        patience_s: float,
    ) -> ShardScores:
        """patience_s: a shard without an answer for so long is sent again, if a retry is left and affordable.

        Raises what a replica raised (a RerankerError), Overloaded, or Unavailable when replicas are lost
        again and again. Cancelling drops the work that has not started yet.
        """
        self._budget.earn()
        for attempt in range(self._settings.max_retries + 1):
            try:
                sent = self._send(query, passages, truncation, context)
                is_last = attempt == self._settings.max_retries
                return await self._without_hanging(sent, None if is_last else patience_s)
            except _Hangs:
                log.warning("attempt %d at a shard got no answer in %.0f s", attempt + 1, patience_s)
                continue  # paid for, and long enough a pause
            except BackPressureError as error:
                raise Overloaded(error.retry_after_s or _RETRY_AFTER_S) from error
            except Exception as error:
                fault = cause_of(error)
                if isinstance(fault, RerankerError) and not (isinstance(fault, NonFiniteLogit) and attempt == 0):
                    raise fault from None
                if not isinstance(fault, RerankerError) and not replica_was_lost(error):
                    log.exception("a shard failed")
                    raise Unavailable(f"scoring failed: {type(fault).__name__}") from error
                log.warning("attempt %d at a shard failed (%s)", attempt + 1, type(fault).__name__)
            if attempt < self._settings.max_retries:
                if not self._budget.spend():
                    raise Unavailable("replicas are lost faster than their work can be sent again: try later")
                await asyncio.sleep(_RETRY_PAUSE_S * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311
        raise Unavailable("replicas were lost again and again: try later")

    async def _without_hanging(
        self, attempt: Coroutine[Any, Any, ShardScores], patience_s: float | None
    ) -> ShardScores:
        """Raises _Hangs, with a retry spent on it. Where none may be spent, waiting is all that is left.

        A replica that is stopped, swapped out or cut off keeps what it was sent, and Serve takes minutes to notice.
        """
        task = asyncio.create_task(attempt)
        try:
            done, _ = await asyncio.wait({task}, timeout=patience_s)
            if not done and self._budget.spend():
                raise _Hangs
            return await task
        finally:
            task.cancel()

    async def _send(
        self, query: str, passages: Sequence[Passage], truncation: Truncation, context: RequestContext
    ) -> ShardScores:
        if _chars(query, passages) < self._settings.direct_chars:
            calls = [self._scorer.score_texts.remote(query, passages, truncation, context)]
        else:
            # The encoded arrays go from tokenizer to scorer without coming back here.
            pairs = self._tokenizer.encode.remote(query, passages, truncation)
            calls = [pairs, self._scorer.score.remote(pairs, context)]
        try:
            scores: ShardScores = await calls[-1]
            return scores
        except asyncio.CancelledError:
            for call in calls:
                call.cancel()  # type: ignore[no-untyped-call]
            raise


def _chars(query: str, passages: Sequence[Passage]) -> int:
    return len(query) + sum(passage.chars for passage in passages)
