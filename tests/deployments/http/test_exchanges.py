"""Requests as clients of many servers send them: each gets the status and the shape that its client reads.

In an expected answer a type stands for any value of it, an object for one that has at least these fields.
"""

from typing import Any, NamedTuple

import httpx
import pytest

from deployments.http.routes import build_http
from reranker.errors import Unavailable
from reranker.settings import LimitsSettings
from reranker.version import __version__
from tests.deployments.http.services import FakeService

QUERY = "when is high tide"
TEXTS = ["0", "2", "-2"]  # logits of the fake service
BODY: dict[str, Any] = {"model": "m", "query": QUERY, "documents": TEXTS}
RANKED = [{"index": index, "relevance_score": float} for index in (1, 0, 2)]
ECHOED = [{"document": {"text": text}} for text in ("2", "0", "-2")]
RERANKED = {"results": RANKED}
BEST_TWO = {"results": RANKED[:2]}
TEI: dict[str, Any] = {"query": QUERY, "texts": TEXTS}
TEI_RANKED = [{"index": index, "score": float} for index in (1, 0, 2)]
NIM: dict[str, Any] = {"model": "m", "query": {"text": QUERY}, "passages": [{"text": text} for text in TEXTS]}
NIM_RANKED: dict[str, Any] = {
    "rankings": [{"index": 1, "logit": 2.0}, {"index": 0, "logit": 0.0}, {"index": 2, "logit": -2.0}],
    "usage": {"prompt_tokens": 21, "total_tokens": 21},
}
NIM_ERROR = {"object": "error", "message": str, "detail": {}, "type": "invalid_request_error"}
VLLM_ERROR = {"error": {"message": str, "type": "BadRequestError", "param": str, "code": 400}}
VOYAGE_RANKED = {"object": "list", "data": RANKED, "model": "fake", "usage": {"total_tokens": 21}}
DASHSCOPE = "/api/v1/services/rerank/text-rerank/text-rerank"
DASHSCOPE_RANKED = {"request_id": str, "output": {"results": RANKED}, "usage": {"total_tokens": 21}}
DASHSCOPE_ERROR = {"code": "InvalidParameter", "message": str, "request_id": str}
INPUT: dict[str, Any] = {"query": QUERY, "documents": TEXTS}
WEAVIATE_ERROR = {"error": str}
TEI_CLASSES = [[{"score": 2.0, "label": "LABEL_0"}], [{"score": 0.0, "label": "LABEL_0"}]]
MIXEDBREAD: dict[str, Any] = {"model": "m", "query": QUERY, "input": TEXTS, "top_k": 2, "return_input": True}
MIXEDBREAD_RANKED = {
    "object": "list",
    "data": [{"index": n, "score": float, "input": TEXTS[n], "object": "rank_result"} for n in (1, 0)],
    "usage": {"total_tokens": 21},
    "top_k": 2,
    "return_input": True,
}
SCORED = [{"index": index, "object": "score", "score": float} for index in range(3)]
IN_ORDER = [{"document": text, "score": float} for text in TEXTS]
MODEL = {"id": "fake", "object": "model", "model_type": "rerank"}


def parts(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


class Exchange(NamedTuple):
    name: str
    path: str
    body: dict[str, Any] | None
    status: int
    answer: Any
    method: str = "POST"


def nim(name: str, status: int, answer: Any, **changes: Any) -> Exchange:
    return Exchange(f"NIM {name}", "/v1/ranking", NIM | changes, status, answer)


def dashscope(name: str, status: int, answer: Any, given: Any = INPUT, **parameters: Any) -> Exchange:
    body = {"model": "gte-rerank-v2", "input": given, "parameters": parameters}
    return Exchange(f"DashScope {name}", DASHSCOPE, body, status, answer)


def weaviate(name: str, status: int, answer: Any, **changes: Any) -> Exchange:
    return Exchange(f"Weaviate {name}", "/rerank", INPUT | {"property": ""} | changes, status, answer)


EXCHANGES = [
    dashscope("ranking", 200, DASHSCOPE_RANKED),
    dashscope("top_n", 200, {"output": BEST_TWO}, top_n=2),
    dashscope("documents given back", 200, {"output": {"results": ECHOED}}, return_documents=True),
    dashscope("no input", 400, DASHSCOPE_ERROR, None),
    dashscope("input of a wrong type", 400, DASHSCOPE_ERROR, [QUERY]),
    dashscope("no query", 400, DASHSCOPE_ERROR, {"documents": TEXTS}),
    dashscope("no documents", 400, DASHSCOPE_ERROR, {"query": QUERY, "documents": []}),
    dashscope("a number among the documents", 400, DASHSCOPE_ERROR, {"query": QUERY, "documents": ["1", 3]}),
    dashscope("top_n 0", 400, DASHSCOPE_ERROR, top_n=0),
    dashscope("top_n of words", 400, DASHSCOPE_ERROR, top_n="two"),
    Exchange(
        "DashScope with null parameters", DASHSCOPE, {"input": INPUT, "parameters": None}, 200, DASHSCOPE_RANKED
    ),
    Exchange(
        "DashScope with parameters no object", DASHSCOPE, {"input": INPUT, "parameters": 3}, 400, DASHSCOPE_ERROR
    ),
    Exchange(
        "DashScope in OpenAI's form", "/compatible-api/v1/reranks", BODY, 200, {"object": "list", "results": RANKED}
    ),
    weaviate("documents", 200, {"query": QUERY, "scores": IN_ORDER, "score": None}),
    weaviate(
        "property",
        200,
        {"query": QUERY, "scores": None, "property": "2", "score": float},
        documents=None,
        property="2",
    ),
    weaviate("neither", 400, WEAVIATE_ERROR, documents=None, property=None),
    weaviate("no documents", 400, WEAVIATE_ERROR, documents=[]),
    weaviate("a number among the documents", 400, WEAVIATE_ERROR, documents=["1", 3]),
    weaviate("property of a wrong type", 400, WEAVIATE_ERROR, property=3),
    weaviate("no query", 400, WEAVIATE_ERROR, query=None),
    Exchange("Weaviate's meta", "/meta", None, 200, {"model": str, "max_pair_tokens": int}, "GET"),
    nim("ranking", 200, NIM_RANKED, truncate="END"),
    nim("top_n", 200, {"rankings": NIM_RANKED["rankings"][:2]}, top_n=2),
    nim("top_k as a string", 200, {"rankings": NIM_RANKED["rankings"][:2]}, top_k="2"),
    nim("bare strings", 200, NIM_RANKED, query=QUERY, passages=TEXTS),
    nim("no passages", 422, NIM_ERROR, passages=[]),
    nim("passages of a wrong type", 422, NIM_ERROR, passages="one"),
    nim("a number among the passages", 422, NIM_ERROR, passages=[{"text": "1"}, 3]),
    nim("a number as query", 422, NIM_ERROR, query=3),
    nim("query without text", 422, NIM_ERROR, query={}),
    nim("top_n 0", 422, NIM_ERROR, top_n=0),
    nim("top_n 1.5", 422, NIM_ERROR, top_n=1.5),
    nim("top_n true", 422, NIM_ERROR, top_n=True),
    nim("truncate START", 422, NIM_ERROR, truncate="START"),
    nim("an image", 422, NIM_ERROR, passages=[{"image": "data:image/png;base64,AA"}]),
    Exchange("NIM at its hosted path", "/v1/retrieval/nvidia/rerank-1b/reranking", NIM, 200, NIM_RANKED),
    Exchange("NIM at /v1/reranking", "/v1/reranking", NIM, 200, NIM_RANKED),
    Exchange("NIM body at SageMaker's path", "/invocations", NIM, 200, NIM_RANKED),
    Exchange("vLLM at SageMaker's path", "/invocations", BODY, 200, RERANKED),
    Exchange("vLLM score there", "/invocations", {"text_1": QUERY, "text_2": TEXTS}, 200, {"object": "list"}),
    Exchange("llama.cpp /reranking", "/reranking", BODY, 200, RERANKED),
    Exchange("llama.cpp /v1/reranking", "/v1/reranking", BODY, 200, RERANKED),
    Exchange("Jina plural", "/v1/reranks", BODY, 200, RERANKED),
    Exchange("plural without version", "/reranks", BODY, 200, RERANKED),
    Exchange("TEI with top_n", "/rerank", TEI | {"top_n": 2}, 200, TEI_RANKED[:2]),
    Exchange("TEI at /v1/rerank", "/v1/rerank", TEI, 200, TEI_RANKED),
    Exchange("TEI at /v1/rerank with top_n", "/v1/rerank", TEI | {"top_n": 2}, 200, TEI_RANKED[:2]),
    Exchange("TEI at the root", "/", TEI, 200, TEI_RANKED),
    Exchange("TEI cut at its left", "/rerank", TEI | {"truncation_direction": "Left"}, 200, TEI_RANKED),
    Exchange("TEI cut at its top", "/rerank", TEI | {"truncation_direction": "top"}, 422, {"error": str}),
    Exchange("TEI top_n as a string", "/rerank", TEI | {"top_n": "2"}, 422, {"error_type": "Validation"}),
    Exchange("Voyage without marks", "/v1/rerank", BODY, 200, VOYAGE_RANKED),
    Exchange("Voyage at /rerank", "/rerank", BODY | {"top_k": 3, "truncation": True}, 200, VOYAGE_RANKED),
    Exchange(
        "vLLM at /v2/rerank",
        "/v2/rerank",
        BODY,
        200,
        {"results": [{"document": {"text": t}} for t in ("2", "0", "-2")]},
    ),
    Exchange("top_n as a string", "/v1/rerank", BODY | {"top_n": "2"}, 200, BEST_TWO),
    Exchange("top_n as a whole float", "/v1/rerank", BODY | {"top_n": 2.0}, 200, BEST_TWO),
    Exchange("Cohere v2 with a whole float", "/v2/rerank", BODY | {"top_n": 2.0}, 200, BEST_TWO),
    Exchange("Cohere v2 with a string", "/v2/rerank", BODY | {"top_n": "2"}, 400, {"message": str}),
    Exchange("vLLM top_n 0", "/rerank", BODY | {"top_n": 0}, 200, RERANKED),
    Exchange("vLLM top_n -1", "/rerank", BODY | {"top_n": -1}, 400, VLLM_ERROR),
    Exchange("top_n as words", "/rerank", BODY | {"top_n": "two"}, 400, VLLM_ERROR),
    Exchange("Xinference", "/v1/rerank", BODY | {"return_documents": "true", "return_len": "true"}, 200, RERANKED),
    Exchange("a boolean as words", "/v1/rerank", BODY | {"return_documents": "maybe"}, 400, VLLM_ERROR),
    Exchange("vLLM one document", "/rerank", BODY | {"documents": "2"}, 200, {"results": [{"index": 0}]}),
    Exchange(
        "vLLM content parts",
        "/rerank",
        {"query": parts(QUERY), "documents": [parts(text) for text in TEXTS]},
        200,
        RERANKED,
    ),
    *(
        Exchange(f"vLLM score of {one} and {two}", "/score", {one: QUERY, two: TEXTS}, 200, {"data": SCORED})
        for one, two in (("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2"))
    ),
    Exchange(
        "vLLM score of content parts",
        "/score",
        {"data_1": parts(QUERY), "data_2": [parts(text) for text in TEXTS]},
        200,
        {"data": SCORED},
    ),
    Exchange(
        "vLLM score of pairs",
        "/score",
        {"queries": ["a", "b", "a"], "documents": TEXTS},
        200,
        {"data": [{"index": n, "score": float} for n in range(3)], "usage": {"total_tokens": 21}},
    ),
    Exchange("vLLM score, one in a list", "/score", {"text_1": [QUERY], "text_2": TEXTS}, 200, {"data": SCORED}),
    Exchange("vLLM score of one document", "/score", {"text_1": [QUERY, "b"], "text_2": ["1"]}, 400, VLLM_ERROR),
    Exchange("vLLM score of 3 and 2", "/score", {"text_1": ["a", "b", "c"], "text_2": ["1", "2"]}, 400, VLLM_ERROR),
    Exchange("vLLM score of a blank query", "/score", {"text_1": ["a", " "], "text_2": ["1", "2"]}, 400, VLLM_ERROR),
    Exchange("TEI pairs", "/predict", {"inputs": [["q", "2"], ["r", "0"]], "raw_scores": True}, 200, TEI_CLASSES),
    Exchange("TEI one pair", "/predict", {"inputs": ["q", "2"], "raw_scores": True}, 200, TEI_CLASSES[0]),
    Exchange("TEI one text", "/predict", {"inputs": "q"}, 422, {"error_type": "Validation"}),
    Exchange("TEI list of texts", "/predict", {"inputs": [["q"], ["r"]]}, 422, {"error_type": "Validation"}),
    Exchange("TEI three texts", "/predict", {"inputs": ["q", "r", "s"]}, 422, {"error_type": "Validation"}),
    Exchange("TEI pair of numbers", "/predict", {"inputs": [["q", 3]]}, 422, {"error_type": "Validation"}),
    Exchange("TEI no pairs", "/predict", {"inputs": []}, 400, {"error_type": "Empty"}),
    Exchange("Mixedbread", "/v1/reranking", MIXEDBREAD, 200, MIXEDBREAD_RANKED),
    Exchange("Mixedbread of objects", "/v1/reranking", MIXEDBREAD | {"input": [{"title": "a"}]}, 200, {"top_k": 2}),
    Exchange("Mixedbread top_k 0", "/v1/reranking", MIXEDBREAD | {"top_k": 0}, 400, {"detail": str}),
    Exchange("ZeroEntropy", "/v1/models/rerank", BODY | {"top_n": 2}, 200, BEST_TWO),
    Exchange("Ollama-style", "/api/rerank", BODY, 200, RERANKED),
    Exchange("vLLM score of no query", "/score", {"queries": [], "documents": TEXTS}, 400, VLLM_ERROR),
    Exchange("vLLM score of a number", "/score", {"queries": 3, "documents": TEXTS}, 400, VLLM_ERROR),
    Exchange(
        "vLLM image part",
        "/rerank",
        {"query": QUERY, "documents": [{"content": [{"type": "image_url", "image_url": {"url": "a"}}]}]},
        400,
        {"error": {"param": "documents.0.content.0"}},
    ),
    Exchange(
        "Jina m0",
        "/v1/rerank",
        {"query": {"text": QUERY}, "documents": [{"text": text} for text in TEXTS]},
        200,
        RERANKED,
    ),
    Exchange("Jina image", "/v1/rerank", {"query": QUERY, "documents": [{"image": "a"}]}, 400, {"message": str}),
    Exchange("model list", "/v1/models", None, 200, {"object": "list", "data": [MODEL]}, "GET"),
    Exchange("Infinity's model list", "/models", None, 200, {"object": "list", "data": [MODEL]}, "GET"),
    Exchange("one model", "/v1/models/fake", None, 200, MODEL, "GET"),
    Exchange("another model", "/v1/models/org/other", None, 404, {"error": {"code": 404}}, "GET"),
    Exchange("vLLM's version", "/version", None, 200, {"version": __version__}, "GET"),
    Exchange("SageMaker's ping", "/ping", None, 200, {}, "GET"),
    Exchange(
        "TEI's info",
        "/info",
        None,
        200,
        {
            "served_model_name": "fake",
            "max_concurrent_requests": int,
            "max_batch_tokens": int,
            "tokenization_workers": int,
        },
        "GET",
    ),
]


def matches(expected: Any, got: Any) -> bool:
    if isinstance(expected, type):
        return isinstance(got, expected)
    if isinstance(expected, dict):
        return isinstance(got, dict) and all(matches(value, got.get(name)) for name, value in expected.items())
    if isinstance(expected, list):
        return isinstance(got, list) and len(got) == len(expected) and all(map(matches, expected, got))
    return bool(expected == got)


async def send(method: str, path: str, body: Any = None, service: FakeService | None = None) -> httpx.Response:
    app = build_http(service or FakeService(), LimitsSettings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.request(method, path, json=body)


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
async def test_client_gets_the_answer_that_it_reads(exchange: Exchange) -> None:
    response = await send(exchange.method, exchange.path, exchange.body)
    assert response.status_code == exchange.status, response.text
    assert matches(exchange.answer, response.json()), response.text


@pytest.mark.parametrize("path", ["/health", "/ready", "/ping", "/v1/models", "/v1/models/fake", "/info", "/docs"])
async def test_head_has_the_headers_of_get_and_no_body(path: str) -> None:
    get, head = await send("GET", path), await send("HEAD", path)
    assert (head.status_code, head.headers, head.content) == (get.status_code, get.headers, b"")


@pytest.mark.parametrize("page", ["ready", "live"])
async def test_weaviate_waits_for_a_204(page: str) -> None:
    assert (await send("GET", f"/.well-known/{page}")).status_code == 204
    broken = await send("GET", f"/.well-known/{page}", service=FakeService(Unavailable("no replica")))
    assert broken.status_code == (503 if page == "ready" else 204)


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity"])
@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/ranking", '{"query": {"text": "q"}, "passages": [{"text": "a", "score": %s}]}', 422),
        ("/v1/ranking", '{"query": {"text": "q"}, "passages": [{"text": "a"}], "top_n": %s}', 422),
        (DASHSCOPE, '{"input": {"query": "q", "documents": ["a"]}, "parameters": {"top_n": %s}}', 400),
        ("/rerank", '{"query": "q", "documents": ["a"], "property": %s}', 400),
    ],
)
async def test_number_beyond_json_is_refused_in_the_new_dialects(
    number: str, path: str, body: str, status: int
) -> None:
    app = build_http(FakeService(), LimitsSettings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        response = await client.post(path, content=(body % number).encode())
    assert response.status_code == status
    assert "must be a finite number" in response.text


async def test_head_of_a_post_path_is_refused() -> None:
    assert (await send("HEAD", "/v1/rerank", BODY)).status_code == 405


@pytest.mark.parametrize(("truncate", "truncation"), [("NONE", "error"), ("END", "model"), (None, "model")])
async def test_nim_truncate_decides_about_long_pairs(truncate: str | None, truncation: str) -> None:
    service = FakeService()
    await send("POST", "/v1/ranking", NIM | {"truncate": truncate}, service)
    assert service.requests[0].truncation == truncation


async def test_model_of_a_path_is_the_one_asked_for_unless_the_body_names_one() -> None:
    service = FakeService()
    path = "/v1/retrieval/nvidia/rerank-1b/reranking"
    await send("POST", path, NIM, service)
    await send("POST", path, {name: value for name, value in NIM.items() if name != "model"}, service)
    assert [request.model for request in service.requests] == ["m", "nvidia/rerank-1b"]
