"""Asks a tokenizer what the model reads of a request's texts. Nothing is scored, so no queue is joined."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.replica_errors import ReplicaLost, translate
from reranker.errors import DeadlineExceeded, InvalidField, TooManyCandidates, Unavailable
from reranker.reading import Reading
from reranker.types import RerankRequest

# A text that is cut is tokenized some twenty times to find out where.
MAX_DOCUMENTS = 100
MAX_CHARS = 2**18


async def read(tokenizer: DeploymentHandle[Any], request: RerankRequest, timeout_ms: int) -> Reading:
    """What the model reads of each text. Raises InvalidRequest, DeadlineExceeded or another ServiceError."""
    passages = [candidate.passage for candidate in request.candidates]
    if len(passages) > MAX_DOCUMENTS:
        raise TooManyCandidates(len(passages), MAX_DOCUMENTS)
    chars = len(request.query) + sum(passage.chars for passage in passages)
    if chars > MAX_CHARS:
        raise InvalidField("documents", f"have {chars} characters with the query, limit {MAX_CHARS}: send fewer")
    call: Any = tokenizer.read.remote(request.query, passages, request.truncation)
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            reading: Reading = await call
            return reading
    except TimeoutError:
        call.cancel()
        raise DeadlineExceeded(timeout_ms) from None
    except asyncio.CancelledError:
        call.cancel()
        raise
    except Exception as error:
        known = translate(error)
        raise (Unavailable("a tokenizer was lost: try again") if isinstance(known, ReplicaLost) else known) from None
