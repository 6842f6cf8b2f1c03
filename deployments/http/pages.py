"""What GET answers: health, readiness, the model, in the formats that clients of several servers ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from deployments.metrics import CONTENT_TYPE, Metrics
from reranker.errors import Overloaded, RerankerError, Unavailable
from reranker.reading import Reading
from reranker.settings import LimitsSettings
from reranker.types import Candidate, ModelDescription, Passage, RerankOutcome, RerankRequest
from reranker.version import __version__

PAGES = (
    "/health",
    "/ping",
    "/ready",
    "/v1/models",
    "/models",
    "/info",
    "/version",
    "/meta",
    "/metrics",
    "/.well-known/live",
    "/.well-known/ready",
)
MODEL_PAGES = "/v1/models/{model:path}"

_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"description": "No replica can answer at present."}}
_PROBE = RerankRequest("ready", (Candidate(Passage("ready")),), timeout_ms=5_000, client="ready")


class RerankService(Protocol):
    """The part of the gateway that HTTP needs."""

    @property
    def model_name(self) -> str: ...

    async def rerank(self, request: RerankRequest) -> RerankOutcome: ...

    async def read(self, request: RerankRequest) -> Reading: ...

    async def describe(self) -> ModelDescription: ...

    @property
    def metrics(self) -> Metrics: ...

    async def observe(self) -> Metrics: ...


def add_pages(app: FastAPI, service: RerankService, limits: LimitsSettings) -> None:
    """Add the routes of PAGES and MODEL_PAGES."""

    @app.get("/", summary="To this documentation.", status_code=307, response_class=RedirectResponse)
    async def root() -> Response:
        return RedirectResponse("/docs")

    @app.get("/meta", include_in_schema=False)  # Weaviate shows whatever it says of the model
    @app.get("/health", summary="Liveness, and the model, template, device and fidelity result.")
    async def health() -> dict[str, Any]:
        answer: dict[str, Any] = {"status": "alive", "version": __version__, "model": service.model_name}
        try:
            return answer | asdict(await service.describe())
        except Unavailable as error:
            return answer | {"problem": str(error)}

    @app.get("/ready", summary="Readiness: scores one pair through the whole graph.", responses=_NOT_READY)
    async def ready() -> Response:
        try:
            await service.rerank(_PROBE)
        except Overloaded:
            # A full queue is no reason to take the service out of rotation.
            return JSONResponse({"status": "ready", "busy": True})
        except RerankerError as error:
            return JSONResponse({"status": "not ready", "problem": str(error)}, 503)
        return JSONResponse({"status": "ready"})

    @app.get("/.well-known/ready", summary="The same for Weaviate.", status_code=204, responses=_NOT_READY)
    async def weaviate_ready() -> Response:
        answer = await ready()
        return Response(status_code=204) if answer.status_code == 200 else answer

    @app.get("/.well-known/live", summary="Liveness, as Weaviate asks for it.", status_code=204)
    async def weaviate_live() -> Response:
        return Response(status_code=204)

    @app.get("/metrics", summary="Prometheus metrics of one gateway.", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response((await service.observe()).text(), media_type=CONTENT_TYPE)

    @app.get("/ping", summary="Liveness, as SageMaker asks for it.")
    async def ping() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/version", summary="The version, in the format of vLLM.")
    async def version() -> dict[str, str]:
        return {"version": __version__}

    @app.get("/models", include_in_schema=False)
    @app.get("/v1/models", summary="The model, in the format of OpenAI's model list.")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(service)]}

    @app.get(MODEL_PAGES, summary="One model of that list.", responses={404: {"description": "Another model."}})
    async def model(model: str) -> Response:
        if model == service.model_name:
            return JSONResponse(dict(_model(service)))
        message = f"model {model[:80]!r} is not served here; this endpoint serves {service.model_name!r}"
        error = {"message": message, "type": "NotFoundError", "param": "model", "code": 404}
        return JSONResponse({"error": error}, 404)

    @app.get("/info", summary="The model, in the format of TEI.", responses=_NOT_READY)
    async def info() -> Response:
        try:
            return JSONResponse(_info(await service.describe(), service.model_name, limits))
        except Unavailable as error:
            return JSONResponse({"error": str(error), "error_type": "Unhealthy"}, 503)


def _model(service: RerankService) -> Mapping[str, Any]:
    return {
        "id": service.model_name,
        "object": "model",
        "created": 0,
        "owned_by": "dear-reranker",
        "model_type": "rerank",  # as Xinference says it
    }


def _info(model: ModelDescription, served_name: str, limits: LimitsSettings) -> dict[str, Any]:
    """All fields of TEI's, for clients that parse them strictly.

    Requests are limited by tokens and bytes, not in number: `max_concurrent_requests` is how many of the largest fit.
    """
    return {
        "model_id": model.model,
        "model_sha": model.revision,
        "model_dtype": model.dtype,
        "served_model_name": served_name,
        "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
        "max_concurrent_requests": max(1, limits.max_bytes_in_flight // limits.max_body_bytes),
        "max_input_length": model.max_pair_tokens,
        "max_batch_tokens": model.max_batch_tokens,
        "max_batch_requests": None,
        "max_client_batch_size": limits.max_documents,
        "auto_truncate": True,
        "tokenization_workers": 1,
        "version": __version__,
        "sha": None,
        "docker_label": None,
    }
