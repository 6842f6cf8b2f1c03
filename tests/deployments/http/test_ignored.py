"""No field is ignored in silence: a header names what has no effect, and so does `meta.warnings` where there is one.

The fields are those of each server's published contract.
"""

from typing import Any

import pytest

from tests.deployments.http.test_exchanges import DASHSCOPE as DASHSCOPE_PATH
from tests.deployments.http.test_exchanges import send

Request = tuple[str, dict[str, Any]]

COHERE_V2: Request = ("/v2/rerank", {"query": "q", "documents": ["1", "2"]})
SHARED: Request = ("/v1/rerank", {"query": "q", "documents": ["1", "2"]})
VOYAGE: Request = ("/v1/rerank", {"query": "q", "documents": ["1", "2"], "top_k": 1})
TEI: Request = ("/rerank", {"query": "q", "texts": ["1", "2"]})
VLLM: Request = ("/rerank", {"query": "q", "documents": ["1", "2"]})
SCORE: Request = ("/score", {"queries": "q", "documents": ["1", "2"]})
WEAVIATE: Request = ("/rerank", {"query": "q", "documents": ["1", "2"], "property": ""})
DASHSCOPE: Request = (DASHSCOPE_PATH, {"input": {"query": "q", "documents": ["1"]}})
NIM: Request = ("/v1/ranking", {"query": {"text": "q"}, "passages": [{"text": "1"}]})

DONE: list[tuple[Request, dict[str, Any]]] = [
    (COHERE_V2, {"model": "m", "top_n": 1, "priority": 3, "return_documents": False}),
    (SHARED, {"model": "m", "top_n": 1, "rank_fields": ["text"], "return_documents": True, "use_activation": False}),
    (VOYAGE, {"model": "m", "return_documents": True, "truncation": True}),
    (TEI, {"raw_scores": True, "return_text": True, "truncate": True, "truncation_direction": "right", "top_n": 1}),
    (VLLM, {"model": "m", "top_n": 0, "use_activation": False, "priority": 0}),
    (SCORE, {"model": "m", "use_activation": False, "priority": 0}),
    (DASHSCOPE, {"model": "m", "parameters": {"top_n": 1, "return_documents": True}}),
    (NIM, {"model": "m", "truncate": "END", "top_n": 1}),
]
REPORTED: list[tuple[Request, dict[str, Any]]] = [
    (COHERE_V2, {"max_tokens_per_doc": 4096, "rank_fields": ["a"], "unheard_of": 1}),
    (
        SHARED,
        {"max_chunks_per_doc": 10, "overlap_tokens": 80, "truncate_prompt_tokens": 9, "return_embeddings": True},
    ),
    (VOYAGE, {"top_n": 3}),
    (TEI, {"model": "m"}),
    (
        VLLM,
        {"truncate_prompt_tokens": 100, "user": "me", "request_id": "1", "mm_processor_kwargs": {}, "padding": 1},
    ),
    (SCORE, {"truncate_prompt_tokens": 100, "user": "me", "cache_salt": "a", "activation": True}),
    (WEAVIATE, {"top_n": 1}),
    (NIM, {"user": "me"}),
]
REFUSED: list[tuple[Request, dict[str, Any]]] = [
    (TEI, {"truncation_direction": "left"}),
    (VLLM, {"truncation_side": "left"}),
    (SCORE, {"truncation_side": "left"}),
    (NIM, {"truncate": "START"}),
]


@pytest.mark.parametrize(("request_", "fields"), DONE)
async def test_field_that_is_done_is_not_reported(request_: Request, fields: dict[str, Any]) -> None:
    path, body = request_
    response = await send("POST", path, body | fields)
    assert response.status_code == 200, response.text
    assert "x-rerank-ignored" not in response.headers


@pytest.mark.parametrize(("request_", "fields"), REPORTED)
async def test_field_without_effect_is_named(request_: Request, fields: dict[str, Any]) -> None:
    path, body = request_
    response = await send("POST", path, body | fields)
    assert response.status_code == 200, response.text
    assert response.headers["x-rerank-ignored"].split(", ") == list(fields)
    answer = response.json()
    if "meta" in answer:
        assert [warning.split(":")[0] for warning in answer["meta"]["warnings"]] == list(fields)


@pytest.mark.parametrize(("request_", "fields"), REFUSED)
async def test_field_that_would_change_scores_is_refused(request_: Request, fields: dict[str, Any]) -> None:
    path, body = request_
    response = await send("POST", path, body | fields)
    assert response.status_code in (400, 422)
    assert next(iter(fields)) in response.text


async def test_names_of_any_characters_and_any_number_fit_in_a_header() -> None:
    names = ["a\r\nx-evil: 1", "é🌊", "b" * 5_000, *map(str, range(1_000))]
    response = await send("POST", "/v2/rerank", COHERE_V2[1] | dict.fromkeys(names))
    assert response.status_code == 200
    header = response.headers["x-rerank-ignored"]
    assert header.startswith("a%0D%0Ax-evil%3A%201, %C3%A9%F0%9F%8C%8A, bbb")
    assert header.endswith(", ...")
    assert len(header) < 1_000
    assert "x-evil" not in response.headers
    assert len(response.json()["meta"]["warnings"]) == 20
