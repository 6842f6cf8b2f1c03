"""Sends one shard through tokenizer and scorer, and again where a replica is lost: scoring has no side effects."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any

from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from deployments.faults import cause_of, replica_was_lost
from reranker.errors import NonFiniteLogit, Overloaded, RerankerError, Unavailable
from reranker.retry_budget import RetryBudget
from reranker.types import Passage, ShardScores, Ticket, Truncation

log = logging.getLogger("ray.serve")

_RETRY_PAUSE_S = 0.2
_RETRY_AFTER_S = 1.0


class ShardClient:
    """max_retries: of one shard. All shards share one budget, so that a fault is not answered by a storm."""

    def __init__(self, tokenizer: DeploymentHandle[Any], scorer: DeploymentHandle[Any], max_retries: int) -> None:
        self._tokenizer = tokenizer
        self._scorer = scorer
        self._max_retries = max_retries
        self._budget = RetryBudget()

    async def score(
        self, query: str, passages: Sequence[Passage], truncation: Truncation, ticket: Ticket
    ) -> ShardScores:
        """Raises what a replica raised (a RerankerError), Overloaded, or Unavailable when replicas are lost
        again and again. Cancelling drops the work that has not started yet.
        """
        self._budget.earn()
        for attempt in range(self._max_retries + 1):
            try:
                return await self._send(query, passages, truncation, ticket)
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
            if attempt < self._max_retries:
                if not self._budget.spend():
                    raise Unavailable("replicas are lost faster than their work can be sent again: try later")
                await asyncio.sleep(_RETRY_PAUSE_S * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311
        raise Unavailable("replicas were lost again and again: try later")

    async def _send(
        self, query: str, passages: Sequence[Passage], truncation: Truncation, ticket: Ticket
    ) -> ShardScores:
        # The encoded arrays go from tokenizer to scorer without coming back here.
        pairs = self._tokenizer.encode.remote(query, passages, truncation)
        response = self._scorer.score.remote(pairs, ticket)
        try:
            scores: ShardScores = await response
            return scores
        except asyncio.CancelledError:
            response.cancel()  # type: ignore[no-untyped-call]
            pairs.cancel()  # type: ignore[no-untyped-call]
            raise
