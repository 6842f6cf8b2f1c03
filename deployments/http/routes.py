"""The HTTP routes of the dialects: bodies in, answers and headers out. Knows nothing of shards, replicas or Ray."""

from __future__ import annotations

import asyncio
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
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from deployments.access_log import AccessLog
from deployments.failures import log_failure
from deployments.http.auth import Caller, Guard, caller_of
from deployments.http.body import check_finite, count_documents, read_object
from deployments.http.dialects import ROUTES, choose, parse
from deployments.http.dialects.base import Call
from deployments.http.head import HeadAsGet
from deployments.http.openapi import complete
from deployments.http.pages import RerankService, add_pages
from deployments.http.playground import add_playground
from deployments.http.reading import PATH as READ_PATH
from deployments.http.reading import ReadCall, ReadDialect
from deployments.http.recorder import DialectOf, Recorder, record_of, refusal
from deployments.key_file import KeyFile
from deployments.request_record import RequestRecord
from deployments.settings import AuthSettings, HttpSettings, LogSettings
from deployments.tracing import Spans
from reranker.errors import Overloaded, RerankerError, Unavailable
from reranker.scheduling.bytes_in_flight import BytesInFlight
from reranker.settings import LimitsSettings
from reranker.types import RerankOutcome, RerankRequest
from reranker.version import __version__

log = logging.getLogger("ray.serve")

_SHOWN_HEADERS = ("retry-after", "retry-after-ms", "x-rerank-id", "x-rerank-ignored", "x-rerank-unscored")
_MANY_DOCUMENTS = 500
_DEFAULT_PATH = "/v1/rerank"  # whose errors have the fields of several dialects, for paths without one
_MAX_NAMES, _MAX_NAME_CHARS = 20, 80  # of ignored fields in the header


class _App(FastAPI):
    """Its OpenAPI document has the dialects, which read bodies in ways of their own."""

    def __init__(self, has_keys: bool, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._has_keys = has_keys

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            complete(super().openapi(), ROUTES, self._has_keys)
        return super().openapi()


def build_http(
    service: RerankService,
    limits: LimitsSettings,
    http: HttpSettings | None = None,
    auth: AuthSettings | None = None,
    logs: LogSettings | None = None,
    spans: Spans | None = None,
) -> FastAPI:
    """The ASGI application of one gateway replica. Raises InvalidFile for a file of keys that cannot be used."""
    auth, logs = auth or AuthSettings(), logs or LogSettings()
    keys = KeyFile(auth.keys_file) if auth.keys_file else None
    app = _App(
        has_keys=keys is not None,
        title="dear-reranker",
        version=__version__,
        summary="Exact reranking with cross-encoders, in the JSON formats of common rerank clients.",
    )
    in_flight = BytesInFlight(limits.max_bytes_in_flight)
    dialects_of: dict[str, DialectOf] = {path: partial(choose, path) for path in ROUTES}
    for path, dialect_of in dialects_of.items():
        handler = _handler(partial(parse, path), dialect_of, partial(_rerank, service), limits, in_flight)
        app.add_route(path, handler, methods=["POST"], include_in_schema=False)
    reading = ReadDialect()
    dialects_of[READ_PATH] = lambda _: reading
    handler = _handler(reading.parse, dialects_of[READ_PATH], partial(_read, service), limits, in_flight)
    app.add_route(READ_PATH, handler, methods=["POST"], include_in_schema=False)
    add_pages(app, service, limits)
    add_playground(app)
    app.add_exception_handler(405, _not_allowed)
    app.add_middleware(Guard, keys, auth, limits.max_header_bytes, choose(_DEFAULT_PATH, None))
    access_log = AccessLog(logs) if logs.requests else None
    app.add_middleware(Recorder, dialects_of, service.metrics, access_log, spans)  # around the guard: it refuses too
    app.add_middleware(HeadAsGet)  # around the guard, which so sees only GET
    if http and http.cors_origins:  # around all: a browser asks before it sends a key, and reads refusals
        app.add_middleware(
            CORSMiddleware,
            allow_origins=http.cors_origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],
            expose_headers=_SHOWN_HEADERS,
        )
    return app


async def _not_allowed(request: Request, error: Exception) -> Response:
    """A path may have a route for each method: the router itself names those of the first alone."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    methods = {method for route in routes for method in getattr(route, "methods", None) or ()}
    methods |= {"HEAD"} if "GET" in methods else set()
    return JSONResponse({"detail": "Method Not Allowed"}, 405, headers={"allow": ", ".join(sorted(methods))})


async def _rerank(service: RerankService, call: Call, caller: Caller, record: RequestRecord) -> Response:
    outcome = await service.rerank(_from(caller, call.request(), record))
    record.tokens, record.unscored = outcome.total_tokens, outcome.unscored
    await _let_others_run()
    return _rendered(call, outcome)


async def _read(service: RerankService, call: ReadCall, caller: Caller, record: RequestRecord) -> Response:
    reading = await service.read(_from(caller, call.request(), record))
    return Response(to_json(call.response(reading)), headers=_ignored(call.ignored), media_type="application/json")


def _from(caller: Caller, request: RerankRequest, record: RequestRecord) -> RerankRequest:
    record.documents, record.top_n, record.model = len(request.candidates), request.top_n, request.model
    return replace(
        request,
        client=caller.name,
        tokens_per_minute=caller.tokens_per_minute,
        request_id=record.id,
        traceparent=record.traceparent,
    )


def _handler(
    parse_body: Callable[[Mapping[str, Any]], Any],
    dialect_of: DialectOf,
    answer_to: Callable[[Any, Caller, RequestRecord], Awaitable[Response]],
    limits: LimitsSettings,
    in_flight: BytesInFlight,
) -> Callable[[Request], Awaitable[Response]]:
    """dialect_of: whose errors a body gets. answer_to: a parsed call and its caller."""

    async def answer(request: Request) -> Response:
        body: dict[str, Any] | None = None
        record = record_of(request)
        try:
            caller = caller_of(request)
            with in_flight.hold(caller.name) as held:
                body = dict(request.path_params) | await read_object(request, limits, held)
                record.dialect = dialect_of(body).name
                check_finite(body)
                record.documents = documents = count_documents(body, limits.max_documents)
                await _let_others_run()
                call = await _parsed(parse_body, body, documents)
                await _let_others_run()
                return await answer_to(call, caller, record)
        except ClientDisconnect:
            return Response(status_code=499)  # which nobody reads
        except Exception as error:
            known = error if isinstance(error, RerankerError) else Unavailable("internal error: see the server log")
            if known is not error:
                log_failure(log, f"a {record.dialect_label} request failed", error)
            status, content = refusal(dialect_of(body), known, record.id)
            return JSONResponse(content, status, headers=_retry_after(known))

    return answer


async def _parsed(parse_body: Callable[[Mapping[str, Any]], Any], body: dict[str, Any], documents: int) -> Any:
    """Many documents are parsed in a thread: 10,000 objects without `text` take 0.2 s, and others go on meanwhile."""
    if documents <= _MANY_DOCUMENTS:
        return parse_body(body)
    return await asyncio.to_thread(parse_body, body)


async def _let_others_run() -> None:
    """Between the steps of a large request, each of which holds the event loop for some 10 ms."""
    await asyncio.sleep(0)


def _rendered(call: Call, outcome: RerankOutcome) -> Response:
    headers = _ignored(call.ignored)
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
