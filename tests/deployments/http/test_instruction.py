"""The instruction of a request, in every dialect."""

from typing import Any

import httpx
import pytest

from deployments.http.routes import build_http
from reranker.settings import LimitsSettings
from tests.deployments.http.services import FakeService

DOCUMENTS = {"query": "tide", "documents": ["1", "2"]}
BODIES: dict[str, dict[str, Any]] = {
    "/rerank": DOCUMENTS,
    "/v1/rerank": DOCUMENTS,
    "/v2/rerank": DOCUMENTS | {"model": "m"},
    "/score": {"queries": "tide", "documents": ["1"]},
    "/v1/ranking": {"model": "m", "query": {"text": "tide"}, "passages": [{"text": "1"}]},
    "/v1/reranking": {"model": "m", "query": "tide", "input": ["1"]},
    "/api/v1/services/rerank/text-rerank/text-rerank": {"model": "m", "input": DOCUMENTS},
    "/rerank?tei": {"query": "tide", "texts": ["1", "2"]},
    "/rerank?voyage": DOCUMENTS | {"top_k": 1},
}


async def sent(path: str, body: dict[str, Any]) -> tuple[httpx.Response, FakeService]:
    service = FakeService()
    transport = httpx.ASGITransport(build_http(service, LimitsSettings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post(path, json=body), service


@pytest.mark.parametrize("path", BODIES)
async def test_every_dialect_takes_an_instruction(path: str) -> None:
    body = dict(BODIES[path])
    response, service = await sent(path, body | {"instruction": "find answers"})
    assert response.status_code == 200, response.text
    assert service.requests[0].instruction == "find answers"
    assert "x-rerank-ignored" not in response.headers
    refused, _ = await sent(path, body | {"instruction": 3})
    assert refused.status_code in (400, 422)
    assert "instruction" in refused.text


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/score"])
async def test_vllms_place_for_an_instruction_is_read(path: str) -> None:
    arguments = {"instruction": "find answers", "enable_thinking": False}
    response, service = await sent(path, BODIES[path] | {"chat_template_kwargs": arguments})
    assert service.requests[0].instruction == "find answers"
    assert response.headers["x-rerank-ignored"] == "chat_template_kwargs.enable_thinking"
    refused, _ = await sent(path, BODIES[path] | {"chat_template_kwargs": {"instruction": ["find"]}})
    assert refused.status_code == 400
    assert "chat_template_kwargs" in refused.text
