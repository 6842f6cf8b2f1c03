"""The ingress: a RerankRequest becomes shards, the shards become one ranking.

Knows neither JSON nor tokens: `http` speaks to clients, tokenizer and scorer do the work.
"""

from __future__ import annotations

import asyncio
import gc
import time
import uuid
from collections.abc import Sequence
from typing import Any

import ray
from fastapi import FastAPI
from ray.serve.handle import DeploymentHandle
from ray.serve.metrics import Gauge

from deployments.capacity import Capacity
from deployments.http.routes import build_http
from deployments.metrics import Metrics
from deployments.ray_metrics import publish
from deployments.ray_ports import warn_of_open_ports
from deployments.reading import read
from deployments.settings import AppSettings
from deployments.shard_client import ShardClient
from deployments.sharding import shard
from deployments.tracing import open_spans
from reranker.deduplicate import deduplicate_pairs
from reranker.documents import check_length, check_request
from reranker.errors import (
    DeadlineExceeded,
    DocumentError,
    Overloaded,
    RerankerError,
    TooManyCandidates,
    UnknownModel,
)
from reranker.pairs import CandidateScores, IntArray
from reranker.ranking import check_not_cut, ranked
from reranker.reading import Reading
from reranker.scheduling.admission import Admission, Reservation
from reranker.scheduling.token_estimate import TokenEstimate
from reranker.scheduling.token_rate import TokenRates
from reranker.types import (
    ModelDescription,
    Passage,
    Query,
    RequestContext,
    RerankOutcome,
    RerankRequest,
    queries_of,
)

# A partial answer stops scoring this long before the deadline, so that it arrives in time. The margin covers the way
# to the scorer as well: a shard is sent the time that is left, which the scorer counts from the shard's arrival.
_RESPONSE_MARGIN_S = 0.5
_RESPONSE_MARGIN_SHARE = 0.1  # at most this share of the request's time

# A replica hangs if it takes this many times as long as the whole queue, the shard itself included.
_ATTEMPT_TIMEOUT_FACTOR = 3.0


class Gateway:
    """See `rerank`. Serve calls `__serve_build_asgi_app__` once after construction."""

    def __init__(
        self,
        settings: AppSettings,
        tokenizer: DeploymentHandle[Any],
        scorer: DeploymentHandle[Any],
        capacity: Capacity | None = None,
    ) -> None:
        """capacity: by default the fleet of the application that this replica belongs to."""
        self._settings = settings
        self._tokenizer = tokenizer
        self._capacity = capacity or Capacity(scorer)
        self.metrics = Metrics(settings.metrics.aliases, settings.model_name, self._capacity.replica)
        self._shard_client = ShardClient(tokenizer, scorer, settings.shards, on_retry=self.metrics.retried)
        self._published: asyncio.Task[None] | None = None
        self._admission = Admission(settings.admission)
        self._estimate = TokenEstimate()
        self._rates = TokenRates()
        self._spans = open_spans(settings.tracing, "gateway")

    def __serve_build_asgi_app__(self) -> FastAPI:
        warn_of_open_ports()
        # The modules imported so far stay. Without this a large request now and then pays 0.2 s for a search of them.
        gc.collect()
        gc.freeze()
        if ray.is_initialized():
            self._published = asyncio.create_task(publish(self.observe, Gauge))
        settings = self._settings
        return build_http(self, settings.limits, settings.http, settings.auth, settings.logs, self._spans)

    def __del__(self) -> None:  # called by Serve before it ends the replica
        if spans := getattr(self, "_spans", None):
            spans.close()

    @property
    def model_name(self) -> str:
        return self._settings.model_name

    async def rerank(self, request: RerankRequest) -> RerankOutcome:
        """Score every candidate and rank them. A request for a partial answer ranks what was scored by its deadline.

        Raises InvalidRequest for a request outside the limits, Overloaded for one that would wait too long, whose
        client has used up its rate, or that finds no scorer and is not to wait for one, and another ServiceError when
        it cannot be answered.
        """
        self._check(request)
        limit_ms = self._settings.limits.timeout_ms
        timeout_ms = min(request.timeout_ms or limit_ms, limit_ms)
        deadline = time.monotonic() + timeout_ms / 1000
        await self._capacity.refresh()
        self._capacity.check()
        if self._settings.admission.without_scorer == "refuse":
            self._capacity.check_running()
        self._admission.tokens_per_s = self._capacity.tokens_per_s
        if self._capacity.description:
            self._estimate.max_pair_tokens = self._capacity.description.max_pair_tokens
            check_length(request, self._capacity.description.max_pair_tokens)

        query, passages, places = deduplicate_pairs(
            request.query, [candidate.passage for candidate in request.candidates]
        )
        await asyncio.sleep(0)  # others run between the steps of a large request
        costs = self._estimate.tokens(query, passages, request.pair_options)
        tokens = int(costs.sum())
        with self._admission.admit(request.client, tokens, request.priority) as reservation:
            if request.tokens_per_minute is not None:  # charged only for what is admitted
                here = request.tokens_per_minute / max(1, self._capacity.fleet.gateways)
                self._rates.take(request.client, tokens, here, time.monotonic())
            context = _context(request, deadline - time.monotonic())
            try:
                scores = await self._score(request, context, query, passages, costs, reservation, deadline)
            except DeadlineExceeded:
                raise DeadlineExceeded(timeout_ms) from None
            except DocumentError as error:
                raise error.at(int((places == error.index).argmax())) from error
        if request.truncation != "max_passage":
            self._estimate.learn(query, passages, scores)
        await asyncio.sleep(0)
        scores = scores.take(places)
        check_not_cut(scores, request.truncation)
        ranking = ranked(request.candidates, scores, request.top_n, partial=context.partial)
        return RerankOutcome(
            request_id=request.request_id or context.request_id,
            model=self.model_name,
            ranking=ranking,
            total_tokens=int(scores.tokens.sum()),
            unscored=int((scores.tokens == 0).sum()) if context.partial else 0,
        )

    async def read(self, request: RerankRequest) -> Reading:
        """What the model reads of each text. Raises InvalidRequest, or another ServiceError."""
        self._check(request)
        limit_ms = self._settings.limits.timeout_ms
        return await read(self._tokenizer, request, min(request.timeout_ms or limit_ms, limit_ms))

    async def describe(self) -> ModelDescription:
        """The scorer's description of its model. Raises Unavailable, with Serve's reason if it has one."""
        return await self._capacity.describe()

    async def observe(self) -> Metrics:
        """The metrics, as of now."""
        await self._capacity.refresh(for_metrics=True)
        self._admission.tokens_per_s = self._capacity.tokens_per_s
        self.metrics.observe(self._admission, self._capacity)
        return self.metrics

    def _check(self, request: RerankRequest) -> None:
        """Limits that hold for every dialect."""
        check_request(request)
        limit = self._settings.limits.max_documents
        if len(request.candidates) > limit:
            raise TooManyCandidates(len(request.candidates), limit)
        if self._settings.strict_model and request.model not in (None, self.model_name):
            raise UnknownModel(str(request.model), self.model_name)

    async def _score(
        self,
        request: RerankRequest,
        context: RequestContext,
        query: Query,
        passages: Sequence[Passage],
        costs: IntArray,
        reservation: Reservation,
        deadline: float,
    ) -> CandidateScores:
        """Scores of the passages, shard by shard. deadline: seconds of the monotonic clock.

        Raises DeadlineExceeded, a DocumentError with the passage's index, and whatever else a shard raises.
        """
        attempt_timeout_s = _ATTEMPT_TIMEOUT_FACTOR * max(
            self._settings.admission.queue_s, self._admission.drained_in_s
        )

        async def score_part(part: slice) -> CandidateScores:
            shard_context = context._replace(refused_tokens=self._admission.take_refused())
            try:
                answer = await self._shard_client.score(
                    queries_of(query, part),
                    passages[part],
                    request.pair_options,
                    shard_context,
                    attempt_timeout_s,
                )
            except DocumentError as error:
                raise error.at(part.start + error.index) from error
            self._capacity.observe(answer.tokens_per_s)
            self.metrics.scored(answer)
            self._admission.done(request.client, reservation, int(costs[part].sum()))
            return answer.scores

        parts = list(shard(passages, self._settings.shards.max_chars, query))
        tasks: list[asyncio.Task[CandidateScores]] = []
        try:
            async with asyncio.timeout(deadline - time.monotonic()), asyncio.TaskGroup() as group:
                tasks = [group.create_task(score_part(part)) for part in parts]
        except TimeoutError:
            if not context.partial:
                raise DeadlineExceeded(0) from None
        except ExceptionGroup as failures:
            raise _first_cause(failures) from failures
        self.metrics.unscored(
            sum(part.stop - part.start for part, task in zip(parts, tasks, strict=True) if task.cancelled())
        )
        return CandidateScores.concat(
            [
                CandidateScores.unscored(part.stop - part.start) if task.cancelled() else task.result()
                for part, task in zip(parts, tasks, strict=True)
            ]
        )


def _context(request: RerankRequest, left_s: float) -> RequestContext:
    partial = request.on_deadline == "partial"
    margin_s = min(_RESPONSE_MARGIN_S, _RESPONSE_MARGIN_SHARE * left_s) if partial else 0.0
    return RequestContext(
        uuid.uuid4().hex,
        request.client,
        request.priority,
        left_s - margin_s,
        partial,
        traceparent=request.traceparent,
    )


def _first_cause(failures: ExceptionGroup[Exception]) -> Exception:
    """The error to report when several shards failed: Overloaded first, then other errors of ours, then bugs."""
    errors = [error for error in failures.exceptions if isinstance(error, RerankerError)]
    return min(errors, key=lambda error: not isinstance(error, Overloaded), default=failures.exceptions[0])
