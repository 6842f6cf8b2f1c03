"""The ingress: a RerankRequest becomes shards, the shards become one ranking.

Knows neither JSON nor tokens: `http.py` speaks to clients, tokenizer and scorer do the work.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import BackPressureError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from deployments.http import build_http
from deployments.settings import AppSettings
from deployments.sharding import shard
from reranker.distinct import distinct
from reranker.errors import (
    DeadlineExceeded,
    EmptyField,
    Overloaded,
    RerankerError,
    TooManyCandidates,
    Unavailable,
    UnknownModel,
)
from reranker.ranking import check_not_cut, ranked
from reranker.types import CandidateScores, ModelDescription, Passage, RerankOutcome, RerankRequest

log = logging.getLogger("ray.serve")

_LOST = (RayActorError, ObjectLostError, WorkerCrashedError, ReplicaUnavailableError)
_RETRY_PAUSE_S = 0.2
_RETRY_AFTER_S = 1.0
_DESCRIBE_TIMEOUT_S = 2.0


@serve.ingress()
class Gateway:
    """See `rerank`. Serve calls `__serve_build_asgi_app__` once after construction."""

    def __init__(
        self, settings: AppSettings, tokenizer: DeploymentHandle[Any], scorer: DeploymentHandle[Any]
    ) -> None:
        self._settings = settings
        self._tokenizer = tokenizer
        self._scorer = scorer

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_http(self, self._settings.limits)

    @property
    def model_name(self) -> str:
        return self._settings.model_name

    async def rerank(self, request: RerankRequest) -> RerankOutcome:
        """Score every candidate and rank them; all shards or none.

        Raises InvalidRequest for a request outside the limits and ServiceError when no answer can be had.
        """
        self._check(request)
        request_id = uuid.uuid4().hex
        limit_ms = self._settings.limits.timeout_ms
        timeout_ms = min(request.timeout_ms or limit_ms, limit_ms)
        passages, places = distinct([candidate.passage for candidate in request.candidates])
        try:
            async with asyncio.timeout(timeout_ms / 1000), asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._score(request, passages[part], request_id))
                    for part in shard(passages, self._settings.shards.max_chars)
                ]
        except TimeoutError:
            raise DeadlineExceeded(timeout_ms) from None
        except ExceptionGroup as failures:
            raise _first_cause(failures) from failures
        scores = CandidateScores.concat([task.result() for task in tasks]).take(places)
        check_not_cut(scores, request.truncation)
        return RerankOutcome(
            request_id=request_id,
            model=self.model_name,
            ranking=ranked(request.candidates, scores, request.top_n),
            total_tokens=int(scores.tokens.sum()),
        )

    async def describe(self) -> ModelDescription:
        """What the scorer says of its model. Raises Unavailable, with Serve's reason where it has one."""
        try:
            async with asyncio.timeout(_DESCRIBE_TIMEOUT_S):
                description: ModelDescription = await self._scorer.describe.remote()
                return description
        except Exception as error:
            raise Unavailable(await asyncio.to_thread(_why_unavailable)) from error

    def _check(self, request: RerankRequest) -> None:
        """Limits that hold for every dialect."""
        if not request.query.strip():
            raise EmptyField("query", "is empty: a query needs at least one character that is not a space")
        if not request.candidates:
            raise EmptyField("documents", "is empty: send at least one document")
        limit = self._settings.limits.max_documents
        if len(request.candidates) > limit:
            raise TooManyCandidates(len(request.candidates), limit)
        if self._settings.strict_model and request.model not in (None, self.model_name):
            raise UnknownModel(str(request.model), self.model_name)

    async def _score(self, request: RerankRequest, passages: list[Passage], request_id: str) -> CandidateScores:
        """One shard, sent again when a replica is lost: scoring has no side effects."""
        for attempt in range(self._settings.shards.max_retries + 1):
            # The encoded arrays go from tokenizer to scorer without coming back here.
            pairs = self._tokenizer.encode.remote(request.query, passages, request.truncation)
            response = self._scorer.score.remote(pairs, request_id)
            try:
                scores: CandidateScores = await response
                return scores
            except asyncio.CancelledError:
                response.cancel()  # type: ignore[no-untyped-call]
                raise
            except BackPressureError as error:
                raise Overloaded(error.retry_after_s or _RETRY_AFTER_S) from error
            except Exception as error:
                cause = _cause(error)
                if isinstance(cause, RerankerError):
                    raise cause from None
                if not _replica_was_lost(error):
                    log.exception("a shard failed")
                    raise Unavailable(f"scoring failed: {type(cause).__name__}") from error
                log.warning("a replica was lost (%s): attempt %d", type(cause).__name__, attempt + 1)
            if attempt < self._settings.shards.max_retries:
                await asyncio.sleep(_RETRY_PAUSE_S * 2**attempt)
        raise Unavailable("replicas were lost again and again: try later")


def _cause(error: BaseException) -> BaseException:
    """What was raised in the replica, without Ray's wrapping."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    return error


def _replica_was_lost(error: BaseException | None) -> bool:
    """A dead replica shows as itself, or as the cause of what failed for want of its result."""
    seen = 0
    while error is not None and seen < 8:
        if isinstance(error, _LOST):
            return True
        error = getattr(error, "cause", None) or error.__cause__
        seen += 1
    return False


def _first_cause(failures: ExceptionGroup[Exception]) -> Exception:
    """What to tell the client when several shards failed: a refusal before a fault."""
    errors = [error for error in failures.exceptions if isinstance(error, RerankerError)]
    return min(errors, key=lambda error: not isinstance(error, Overloaded), default=failures.exceptions[0])


def _why_unavailable() -> str:
    """Serve's own words on deployments that are not healthy, cut to what an operator can use."""
    try:
        applications = serve.status().applications.values()
    except Exception:
        return "no scorer answers, and Serve's controller does not either"
    reasons = [
        f"{name}: {deployment.status}: {_last_lines(deployment.message)}"
        for application in applications
        for name, deployment in application.deployments.items()
        if deployment.status != "HEALTHY"
    ]
    return "; ".join(reasons) or "no scorer answered in time"


def _last_lines(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(line for line in lines if "Error" in line)[-600:] or " ".join(lines)[-300:]
