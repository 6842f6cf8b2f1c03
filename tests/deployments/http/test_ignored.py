"""Every published field of every API is done, refused or reported: none is ignored in silence.

The fields are those of each server's public reference. A field that is reported is named in a header, and in
`meta.warnings` where the dialect has such a place.
"""

from typing import Any, NamedTuple

import pytest

from tests.deployments.http.services import FakeService
from tests.deployments.http.test_exchanges import DASHSCOPE, send

DONE, REPORTED, REFUSED = "done", "reported", "refused"
QUERY = {"query": "q"}
TEXTS = ["1", "2"]
RERANK: dict[str, Any] = QUERY | {"documents": TEXTS}


class Api(NamedTuple):
    """body: one that is valid. fields: of each published field a value, and what happens to it."""

    path: str
    body: dict[str, Any]
    fields: dict[str, tuple[Any, str]]


VLLM_FIELDS: dict[str, tuple[Any, str]] = {
    "model": ("m", DONE),
    "use_activation": (False, DONE),
    "activation": (False, DONE),
    "priority": (1, DONE),
    "truncate_prompt_tokens": (100, DONE),
    "truncation_side": ("left", DONE),
    "softmax": (True, REPORTED),
    "user": ("me", REPORTED),
    "additional_data": ({}, REPORTED),
    "request_id": ("1", REPORTED),
    "cache_salt": ("a", REPORTED),
    "mm_processor_kwargs": ({}, REPORTED),
    "max_tokens_per_doc": (100, REPORTED),
    "add_special_tokens": (True, REPORTED),
}
TEI_FIELDS: dict[str, tuple[Any, str]] = {
    "raw_scores": (True, DONE),
    "truncate": (False, DONE),
    "truncation_direction": ("Left", DONE),
}

APIS = {
    "Cohere v2": Api(
        "/v2/rerank",
        RERANK,
        {
            "model": ("m", DONE),
            "query": ("r", DONE),
            "documents": (["3"], DONE),
            "top_n": (1, DONE),
            "priority": (3, DONE),
            "max_tokens_per_doc": (4096, REPORTED),
        },
    ),
    "Cohere v1": Api(
        "/v1/rerank",
        RERANK,
        {
            "model": ("m", DONE),
            "query": ("r", DONE),
            "documents": ([{"title": "3"}], DONE),
            "top_n": (1, DONE),
            "rank_fields": (["text"], DONE),
            "return_documents": (False, DONE),
            "max_chunks_per_doc": (10, REPORTED),
        },
    ),
    "Jina": Api(
        "/v1/rerank",
        RERANK,
        {
            "model": ("m", DONE),
            "query": ({"text": "r"}, DONE),
            "documents": ([{"text": "3"}], DONE),
            "top_n": (1, DONE),
            "return_documents": (False, DONE),
            "max_doc_length": (100, REPORTED),
            "max_query_length": (100, REPORTED),
            "return_embeddings": (False, REPORTED),
        },
    ),
    "Voyage": Api(
        "/v1/rerank",
        RERANK | {"top_k": None},
        {
            "model": ("m", DONE),
            "query": ("r", DONE),
            "documents": (["3"], DONE),
            "top_k": (1, DONE),
            "return_documents": (True, DONE),
            "truncation": (False, DONE),
        },
    ),
    "TEI": Api(
        "/rerank",
        QUERY | {"texts": TEXTS},
        TEI_FIELDS | {"query": ("r", DONE), "texts": (["3"], DONE), "return_text": (True, DONE)},
    ),
    "TEI pairs": Api("/predict", {"inputs": [["q", "1"]]}, TEI_FIELDS | {"inputs": (["q", "1"], DONE)}),
    "vLLM rerank": Api(
        "/rerank",
        RERANK,
        VLLM_FIELDS
        | {
            "query": ({"content": [{"type": "text", "text": "r"}]}, DONE),
            "documents": ("3", DONE),
            "top_n": (0, DONE),
            "return_documents": (True, DONE),
        },
    ),
    "vLLM score of texts": Api(
        "/score",
        {"text_1": "q", "text_2": TEXTS},
        VLLM_FIELDS | {"text_1": (["q", "r"], DONE), "text_2": ("3", DONE)},
    ),
    "vLLM score of data": Api(
        "/score",
        {"data_1": "q", "data_2": TEXTS},
        VLLM_FIELDS | {"data_1": (["q", "r"], DONE), "data_2": ("3", DONE)},
    ),
    "vLLM score of queries": Api(
        "/score",
        {"queries": "q", "items": TEXTS},
        VLLM_FIELDS | {"queries": (["q", "r"], DONE), "items": ("3", DONE)},
    ),
    "NVIDIA NIM": Api(
        "/v1/ranking",
        {"query": {"text": "q"}, "passages": [{"text": "1"}]},
        {
            "model": ("m", DONE),
            "query": ({"text": "r"}, DONE),
            "passages": ([{"text": "3"}], DONE),
            "truncate": ("NONE", DONE),
        },
    ),
    "NVIDIA NIM, images": Api(
        "/v1/ranking",
        {"query": {"text": "q"}, "passages": [{"text": "1"}]},
        {"passages": ([{"image": "data:image/png;base64,AA"}], REFUSED), "truncate": ("START", REFUSED)},
    ),
    "DashScope": Api(
        DASHSCOPE,
        {"input": RERANK},
        {
            "model": ("m", DONE),
            "input": (QUERY | {"documents": ["3"]}, DONE),
            "parameters": ({"top_n": 1, "return_documents": True}, DONE),
        },
    ),
    "DashScope, instructions": Api(DASHSCOPE, {"input": RERANK | {"instruct": "i"}}, {"instruct": ("i", REPORTED)}),
    "Mixedbread": Api(
        "/v1/reranking",
        QUERY | {"input": TEXTS},
        {
            "model": ("m", DONE),
            "query": ("r", DONE),
            "input": ([{"title": "3"}], DONE),
            "rank_fields": (["title"], DONE),
            "top_k": (1, DONE),
            "return_input": (True, DONE),
            "rewrite_query": (True, REPORTED),
        },
    ),
    "Weaviate": Api(
        "/rerank",
        RERANK | {"property": ""},
        {"query": ("r", DONE), "documents": (["3"], DONE), "property": ("3", DONE)},
    ),
    "Infinity": Api(
        "/rerank",
        RERANK,
        {
            "model": ("m", DONE),
            "query": ("r", DONE),
            "documents": (["3"], DONE),
            "raw_scores": (True, DONE),
            "return_documents": (True, DONE),
            "top_n": (1, DONE),
        },
    ),
    "Xinference": Api(
        "/v1/rerank",
        RERANK,
        {
            "model": ("m", DONE),
            "query": ("r", DONE),
            "documents": (["3"], DONE),
            "top_n": ("1", DONE),
            "return_documents": ("true", DONE),
            "max_chunks_per_doc": (10, REPORTED),
            "overlap_tokens": (80, REPORTED),
            "return_len": ("true", REPORTED),
        },
    ),
    "Together": Api(
        "/v1/rerank",
        RERANK,
        {
            "model": ("m", DONE),
            "query": ("r", DONE),
            "documents": ([{"title": "3"}], DONE),
            "top_n": (1, DONE),
            "return_documents": (True, DONE),
            "rank_fields": (["title"], DONE),
        },
    ),
    "ZeroEntropy": Api(
        "/v1/models/rerank",
        RERANK,
        {
            "model": ("m", DONE),
            "query": ("r", DONE),
            "documents": (["3"], DONE),
            "top_n": (1, DONE),
            "latency": ("fast", REPORTED),
        },
    ),
    "llama.cpp": Api("/v1/reranking", QUERY | {"texts": TEXTS}, {"top_n": (1, DONE), "model": ("m", REPORTED)}),
    "any": Api("/v2/rerank", RERANK, {"unheard_of": (1, REPORTED), "rank_fields": (["a"], REPORTED)}),
}
FIELDS = [
    pytest.param(api, field, value, outcome, id=f"{name} {field}: {outcome}")
    for name, api in APIS.items()
    for field, (value, outcome) in api.fields.items()
]


def body_with(api: Api, field: str, value: Any) -> dict[str, Any]:
    """Documents with the fields that are ranked, and as many queries as documents."""
    body = api.body | {field: value}
    if field == "rank_fields" and api.path != "/v2/rerank":
        documents = "input" if "input" in body else "documents"
        body[documents] = [{value[0]: "1"}]
    return body


@pytest.mark.parametrize(("api", "field", "value", "outcome"), FIELDS)
async def test_published_field_is_done_refused_or_reported(api: Api, field: str, value: Any, outcome: str) -> None:
    response = await send("POST", api.path, body_with(api, field, value))
    answer = response.json()
    if outcome == REFUSED:
        assert response.status_code in (400, 422)
        assert field in response.text
        return
    assert response.status_code == 200, response.text
    reported = response.headers.get("x-rerank-ignored", "").split(", ")
    assert (field in reported) == (outcome == REPORTED)
    if "meta" in answer:
        assert [warning.split(":")[0] for warning in answer["meta"]["warnings"]] == [field] * (outcome == REPORTED)


LONG_PAIRS: list[tuple[str, dict[str, Any], str, int | None]] = [
    ("/rerank", QUERY | {"texts": TEXTS}, "model", None),
    ("/rerank", QUERY | {"texts": TEXTS, "truncate": True}, "model", None),
    ("/rerank", QUERY | {"texts": TEXTS, "truncate": False}, "error", None),
    ("/rerank", QUERY | {"texts": TEXTS, "truncation_direction": "Left"}, "error", None),
    ("/predict", {"inputs": ["q", "1"], "truncate": False}, "error", None),
    ("/rerank", RERANK, "model", None),
    ("/rerank", RERANK | {"truncate_prompt_tokens": -1}, "model", None),
    ("/rerank", RERANK | {"truncate_prompt_tokens": 100}, "model", 100),
    ("/rerank", RERANK | {"truncate_prompt_tokens": 100, "truncation": "max_passage"}, "max_passage", None),
    ("/score", {"text_1": "q", "text_2": TEXTS, "truncate_prompt_tokens": "100"}, "model", 100),
    ("/score", {"text_1": "q", "text_2": TEXTS, "truncation_side": "left"}, "error", None),
    ("/v1/rerank", RERANK | {"truncation": True}, "model", None),
    ("/v1/rerank", RERANK | {"truncation": False}, "error", None),
    ("/v1/ranking", {"query": "q", "passages": TEXTS, "truncate": "NONE"}, "error", None),
]


@pytest.mark.parametrize(("path", "body", "truncation", "tokens"), LONG_PAIRS)
async def test_each_dialect_says_in_its_own_way_what_happens_to_long_pairs(
    path: str, body: dict[str, Any], truncation: str, tokens: int | None
) -> None:
    service = FakeService()
    assert (await send("POST", path, body, service)).status_code == 200
    assert (service.requests[0].truncation, service.requests[0].max_pair_tokens) == (truncation, tokens)


@pytest.mark.parametrize("tokens", [0, -2, 229, 1.5, "-2", "many"])
@pytest.mark.parametrize(
    ("path", "body"), [("/rerank", RERANK), ("/v1/rerank", RERANK), ("/score", {"queries": "q", "items": TEXTS})]
)
async def test_number_of_tokens_that_no_pair_can_have_is_refused(
    path: str, body: dict[str, Any], tokens: Any
) -> None:
    response = await send("POST", path, body | {"truncate_prompt_tokens": tokens})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "truncate_prompt_tokens"


async def test_names_of_any_characters_and_any_number_fit_in_a_header() -> None:
    names = ["a\r\nx-evil: 1", "é🌊", "b" * 5_000, *map(str, range(1_000))]
    response = await send("POST", "/v2/rerank", RERANK | dict.fromkeys(names))
    assert response.status_code == 200
    header = response.headers["x-rerank-ignored"]
    assert header.startswith("a%0D%0Ax-evil%3A%201, %C3%A9%F0%9F%8C%8A, bbb")
    assert header.endswith(", ...")
    assert len(header) < 1_000
    assert "x-evil" not in response.headers
    assert len(response.json()["meta"]["warnings"]) == 20
