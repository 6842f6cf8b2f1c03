"""The HTTP routes of the dialects: bodies in, answers and headers out. Knows nothing of shards, replicas or Ray."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic_core import to_json
from starlette.requests import ClientDisconnect

from deployments.http.body import check_documents, check_finite, read_object
from deployments.http.dialects import ROUTES, choose, parse
from deployments.http.dialects.base import Call
from deployments.http.head import HeadAsGet
from deployments.http.openapi import add_dialects
from deployments.http.pages import RerankService, add_pages
from deployments.http.playground import add_playground
from deployments.http.reading import PATH as READ_PATH
from deployments.http.reading import ReadCall, ReadDialect
from deployments.metrics import Metrics, Seen
from reranker.errors import Overloaded, RerankerError, Unavailable
from reranker.scheduling.bytes_in_flight import BytesInFlight
from reranker.settings import LimitsSettings
from reranker.types import RerankOutcome
from reranker.version import __version__

log = logging.getLogger("ray.serve")

_MAX_NAMES, _MAX_NAME_CHARS = 20, 80  # of ignored fields in the header


class _App(FastAPI):
    """Its OpenAPI document has the dialects, which read bodies in ways of their own."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            add_dialects(super().openapi(), ROUTES)
        return super().openapi()


def build_http(service: RerankService, limits: LimitsSettings) -> FastAPI:
    """The ASGI application of one gateway replica."""
    app = _App(
        title="dear-reranker",
        version=__version__,
        summary="Exact reranking with cross-encoders, in the JSON formats of common rerank clients.",
    )
    in_flight = BytesInFlight(limits.max_bytes_in_flight)
    metrics = service.metrics
    for path in ROUTES:
        parse_body, dialect_of = partial(parse, path), partial(choose, path)
        handler = _handler(parse_body, dialect_of, partial(_rerank, service), limits, in_flight, metrics)
        app.add_route(path, handler, methods=["POST"], include_in_schema=False)
    reading = ReadDialect()
    handler = _handler(reading.parse, lambda _: reading, partial(_read, service), limits, in_flight, metrics)
    app.add_route(READ_PATH, handler, methods=["POST"], include_in_schema=False)
    add_pages(app, service, limits)
    add_playground(app)
    app.add_middleware(HeadAsGet)
    return app


async def _rerank(service: RerankService, call: Call, client: str) -> Response:
    outcome = await service.rerank(replace(call.request(), client=client))
    await _let_others_run()
    return _rendered(call, outcome)


async def _read(service: RerankService, call: ReadCall, client: str) -> Response:
    reading = await service.read(replace(call.request(), client=client))
    return Response(to_json(call.response(reading)), headers=_ignored(call.ignored), media_type="application/json")


def _handler(
    parse_body: Callable[[Mapping[str, Any]], Any],
    dialect_of: Callable[[Mapping[str, Any] | None], Any],
    answer_to: Callable[[Any, str], Awaitable[Response]],
    limits: LimitsSettings,
    in_flight: BytesInFlight,
    metrics: Metrics,
) -> Callable[[Request], Awaitable[Response]]:
    """dialect_of: whose errors a body gets, None if it could not be read. answer_to: a parsed call and its client."""

    async def answer(request: Request) -> Response:
        with metrics.request(dialect_of(None).name) as seen:
            response = await answer_seen(request, seen)
            seen.status = response.status_code
            return response

    async def answer_seen(request: Request, seen: Seen) -> Response:
        body: dict[str, Any] | None = None
        try:
            client = _client_of(request)
            with in_flight.hold(client) as held:
                body = dict(request.path_params) | await read_object(request, limits, held)
                seen.dialect = dialect_of(body).name
                check_finite(body)
                check_documents(body, limits.max_documents)
                await _let_others_run()
                call = parse_body(body)
                await _let_others_run()
                return await answer_to(call, client)
        except ClientDisconnect:
            return Response(status_code=499)  # which nobody reads
        except Exception as error:
            known = error if isinstance(error, RerankerError) else Unavailable("internal error: see the server log")
            if known is not error:
                log.exception("POST %s failed", request.url.path)
            status, content = dialect_of(body).failure(known)
            return JSONResponse(content, status, headers=_retry_after(known))

    return answer


async def _let_others_run() -> None:
    """Between the steps of a large request, each of which holds the event loop for some 10 ms."""
    await asyncio.sleep(0)


def _rendered(call: Call, outcome: RerankOutcome) -> Response:
    headers = {"x-rerank-id": outcome.request_id} | _ignored(call.ignored)
    if outcome.unscored:
        headers["x-rerank-unscored"] = str(outcome.unscored)
    return Response(to_json(call.response(outcome)), headers=headers, media_type="application/json")


def _ignored(names: Sequence[str]) -> dict[str, str]:
    """The header that lists ignored fields, if there are any. Their names may hold any character."""
    shown = [quote(name[:_MAX_NAME_CHARS], safe="") for name in names[:_MAX_NAMES]]
    return {"x-rerank-ignored": ", ".join(shown + ["..."] * (len(names) > _MAX_NAMES))} if names else {}


def _retry_after(error: RerankerError) -> dict[str, str]:
    if not isinstance(error, Overloaded):
        return {}
    whole_s = max(1, math.ceil(error.retry_after_s))  # the standard header allows whole seconds only
    return {"retry-after": str(whole_s), "retry-after-ms": str(math.ceil(1000 * error.retry_after_s))}


def _client_of(request: Request) -> str:
    """The client whose fair share a request uses: a hash of its API key, else its address. Keys are not checked."""
    if key := request.headers.get("authorization"):
        return hashlib.sha256(key.encode()).hexdigest()
    return request.client.host if request.client else ""
