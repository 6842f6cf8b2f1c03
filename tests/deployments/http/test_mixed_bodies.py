"""Bodies that mix dialects: refused in the shape of the one whose mark they bear, or what is foreign is named."""

from typing import Any

import pytest

from tests.deployments.http.services import FakeService
from tests.deployments.http.test_exchanges import DASHSCOPE, matches, send

TEI_ERROR = {"error": str, "error_type": "Validation"}
VLLM_ERROR = {"error": {"message": str, "type": "BadRequestError", "code": 400}}
NIM_ERROR = {"object": "error", "type": "invalid_request_error"}
VOYAGE_ERROR = {"detail": str}
BOTH = {"query": "q", "documents": ["1"]}


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/rerank", BOTH | {"texts": ["2"]}, 422, TEI_ERROR),
        ("/v1/rerank", BOTH | {"texts": ["2"], "top_k": 1}, 422, TEI_ERROR),
        ("/v1/reranking", BOTH | {"passages": ["2"]}, 422, NIM_ERROR),
        ("/v1/reranking", {"query": "q", "passages": ["1"], "texts": ["2"]}, 422, NIM_ERROR),
        ("/v1/reranking", {"query": "q", "input": ["1"], "documents": ["2"]}, 400, VOYAGE_ERROR),
        ("/invocations", {"query": "q", "passages": ["1"], "documents": ["2"]}, 422, NIM_ERROR),
        ("/score", {"text_1": "q", "queries": "r", "text_2": "1"}, 400, VLLM_ERROR),
        ("/score", {"text_1": "q", "text_2": "1", "documents": ["2"]}, 400, VLLM_ERROR),
        ("/score", {"data_1": "q", "data_2": "1", "items": ["2"]}, 400, VLLM_ERROR),
        ("/rerank", BOTH | {"use_activation": True, "activation": False}, 400, VLLM_ERROR),
        ("/v1/ranking", {"query": "q", "passages": ["1"], "top_n": 1, "top_k": 2}, 422, NIM_ERROR),
    ],
)
async def test_one_thing_under_two_names_is_refused(path: str, body: dict[str, Any], status: int, error: Any) -> None:
    service = FakeService()
    response = await send("POST", path, body, service)
    assert response.status_code == status, response.text
    assert matches(error, response.json())
    assert "which means the same: send one of them" in response.text
    assert not service.requests


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rerank", BOTH | {"texts": None}),
        ("/v1/reranking", BOTH | {"passages": None, "input": None}),
        ("/score", {"text_1": "q", "queries": None, "text_2": "1", "items": None}),
        ("/score", {"queries": None, "data_1": "q", "data_2": "1"}),
        ("/v1/ranking", {"query": "q", "passages": ["1"], "top_n": None, "top_k": 1}),
    ],
)
async def test_null_is_no_second_name(path: str, body: dict[str, Any]) -> None:
    response = await send("POST", path, body)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("path", "body", "foreign"),
    [
        ("/v2/rerank", BOTH, {"texts": ["2"]}),
        ("/v2/rerank", BOTH, {"return_text": True}),
        ("/v1/rerank", BOTH | {"top_k": 1}, {"top_n": "many"}),
        ("/rerank", {"query": "q", "texts": ["1"]}, {"rank_fields": 3}),
        ("/v1/ranking", {"query": "q", "passages": ["1"]}, {"documents": 3}),
        ("/predict", {"inputs": ["q", "1"]}, {"top_n": 0}),
        (DASHSCOPE, {"input": BOTH}, {"query": 3}),
        (DASHSCOPE, {"input": BOTH | {"top_n": 0}}, {"documents": []}),
    ],
)
async def test_field_of_another_dialect_is_named_and_has_no_effect(
    path: str, body: dict[str, Any], foreign: dict[str, Any]
) -> None:
    response = await send("POST", path, body | foreign)
    assert response.status_code == 200, response.text
    assert set(foreign) <= set(response.headers["x-rerank-ignored"].split(", "))


async def test_many_documents_are_answered_like_few() -> None:
    """More than are parsed between two turns of the event loop."""
    documents: list[dict[str, Any]] = [{"title": str(number), "note": "a: b"} for number in range(600)]
    response = await send("POST", "/v1/rerank", {"query": "q", "documents": documents, "rank_fields": ["title"]})
    assert [result["index"] for result in response.json()["results"]] == list(reversed(range(600)))
    documents[599] = {"title": 3, "image": "a"}
    refused = await send("POST", "/v1/rerank", {"query": "q", "documents": documents})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "documents.599.text")


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/", "GET, HEAD, POST"), ("/health", "GET, HEAD"), ("/v1/rerank", "POST"), ("/v1/models/fake", "GET, HEAD")],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_refused_method_comes_with_those_that_are_allowed(method: str, path: str, methods: str) -> None:
    response = await send(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, methods)
    assert response.json() == {"detail": "Method Not Allowed"}
