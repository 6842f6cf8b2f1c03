"""The HTTP routes: paths, dialects and headers. Knows nothing of shards, replicas or Ray."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic_core import to_json
from starlette.requests import ClientDisconnect

from deployments.http.body import check_documents, check_finite, read_object
from deployments.http.dialects import ROUTES, choose
from deployments.http.dialects.base import Call
from reranker.errors import Overloaded, RerankerError, Unavailable
from reranker.scheduling.bytes_in_flight import BytesInFlight
from reranker.settings import LimitsSettings
from reranker.types import Candidate, ModelDescription, Passage, RerankOutcome, RerankRequest
from reranker.version import __version__

log = logging.getLogger("ray.serve")

_PROBE = RerankRequest("ready", (Candidate(Passage("ready")),), timeout_ms=5_000, client="ready")


class RerankService(Protocol):
    """The part of the gateway that HTTP needs."""

    @property
    def model_name(self) -> str: ...

    async def rerank(self, request: RerankRequest) -> RerankOutcome: ...

    async def describe(self) -> ModelDescription: ...


def build_http(service: RerankService, limits: LimitsSettings) -> FastAPI:
    """The ASGI application of one gateway replica."""
    app = FastAPI(
        title="dear-reranker",
        version=__version__,
        summary="Exact reranking with cross-encoders, in the JSON formats of common rerank clients.",
    )
    in_flight = BytesInFlight(limits.max_bytes_in_flight)
    for path, route in ROUTES.items():
        schemas = [schema for dialect in route.dialects for schema in dialect.schemas()]
        body = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        app.add_api_route(
            path,
            _rerank_handler(path, service, limits, in_flight),
            methods=["POST"],
            summary=" · ".join(dialect.name for dialect in route.dialects),
            openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}},
            response_class=JSONResponse,
        )
    _add_status_routes(app, service, limits)
    return app


def _rerank_handler(
    path: str, service: RerankService, limits: LimitsSettings, in_flight: BytesInFlight
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        body: dict[str, Any] | None = None
        try:
            client = _client_of(request)
            with in_flight.hold(client) as held:
                body = await read_object(request, limits, held)
                check_finite(body)
                check_documents(body, limits.max_documents)
                await _let_others_run()
                call = choose(path, body).parse(body)
                await _let_others_run()
                outcome = await service.rerank(replace(call.request(), client=client))
                await _let_others_run()
                return _rendered(call, outcome)
        except ClientDisconnect:
            return Response(status_code=400)  # which nobody reads
        except Exception as error:
            known = error if isinstance(error, RerankerError) else Unavailable("internal error: see the server log")
            if known is not error:
                log.exception("POST %s failed", path)
            status, content = choose(path, body).failure(known)
            return JSONResponse(content, status, headers=_retry_after(known))

    return answer


async def _let_others_run() -> None:
    """Between the steps of a large request, each of which holds the event loop for some 10 ms."""
    await asyncio.sleep(0)


def _rendered(call: Call, outcome: RerankOutcome) -> Response:
    headers = {"x-rerank-id": outcome.request_id}
    if outcome.unscored:
        headers["x-rerank-unscored"] = str(outcome.unscored)
    return Response(to_json(call.response(outcome)), headers=headers, media_type="application/json")


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


def _add_status_routes(app: FastAPI, service: RerankService, limits: LimitsSettings) -> None:
    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("/docs")

    @app.get("/health", summary="Liveness, and the model, template, device and fidelity result.")
    async def health() -> dict[str, Any]:
        answer: dict[str, Any] = {"status": "alive", "version": __version__, "model": service.model_name}
        try:
            return answer | asdict(await service.describe())
        except Unavailable as error:
            return answer | {"problem": str(error)}

    @app.get("/ready", summary="Readiness: scores one pair through the whole graph.")
    async def ready() -> Response:
        try:
            await service.rerank(_PROBE)
        except Overloaded:
            # A full queue is no reason to take the service out of rotation.
            return JSONResponse({"status": "ready", "busy": True})
        except RerankerError as error:
            return JSONResponse({"status": "not ready", "problem": str(error)}, 503)
        return JSONResponse({"status": "ready"})

    @app.get("/v1/models", summary="The model, in the format of OpenAI's model list.")
    async def models() -> dict[str, Any]:
        model = {"id": service.model_name, "object": "model", "created": 0, "owned_by": "dear-reranker"}
        return {"object": "list", "data": [model]}

    @app.get("/info", summary="The model, in the format of TEI.")
    async def info() -> Response:
        try:
            model = await service.describe()
        except Unavailable as error:
            return JSONResponse({"error": str(error), "error_type": "Unhealthy"}, 503)
        return JSONResponse(
            {
                "model_id": model.model,
                "model_sha": model.revision,
                "model_dtype": model.dtype,
                "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
                "max_input_length": model.max_pair_tokens,
                "max_client_batch_size": limits.max_documents,
                "auto_truncate": True,
                "version": __version__,
            }
        )
