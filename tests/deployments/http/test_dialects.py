"""Each dialect's answers, in the format its clients expect, through the real HTTP routes over a fake service."""

import math
from typing import Any

import httpx
import pytest

from deployments.http.routes import build_http
from reranker.settings import LimitsSettings
from tests.deployments.http.services import FakeService

TEXTS = ["0", "2", "-2"]
SIGMOID = {text: 1 / (1 + math.exp(-float(text))) for text in TEXTS}


async def post(path: str, body: Any, service: FakeService | None = None) -> httpx.Response:
    app = build_http(service or FakeService(), LimitsSettings(max_body_bytes=10_000))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.post(path, json=body)


async def answer(path: str, **body: Any) -> Any:
    response = await post(path, body)
    assert response.status_code == 200, response.text
    return response.json()


def ranking(results: list[dict[str, Any]], score: str = "relevance_score") -> list[tuple[int, Any]]:
    return [(result["index"], pytest.approx(result[score])) for result in results]


BEST_FIRST = [(1, SIGMOID["2"]), (0, SIGMOID["0"]), (2, SIGMOID["-2"])]


async def test_cohere_v2_returns_the_top_results() -> None:
    body = {"max_tokens_per_doc": 4096, "priority": 0, "unheard_of": True}
    got = await answer("/v2/rerank", model="any", query="q", documents=TEXTS, top_n=2, **body)
    assert ranking(got["results"]) == BEST_FIRST[:2]
    assert got["results"][0]["document"] == {"text": "2"}
    assert got["id"] == "request-1"
    assert got["meta"]["api_version"] == {"version": "2"}
    assert got["meta"]["billed_units"] == {"search_units": 1}


async def test_v1_answer_has_the_fields_of_cohere_jina_and_vllm() -> None:
    got = await answer("/v1/rerank", model="any", query="q", documents=["0", {"text": "2"}, "-2"], top_n=None)
    assert ranking(got["results"]) == BEST_FIRST
    assert got["results"][0]["document"] == {"text": "2"}
    assert got["meta"]["api_version"] == {"version": "1"}
    assert got["usage"]["total_tokens"] == 21
    assert got["model"] == "fake"
    assert [list(entry) for entry in got["data"]] == [["index", "relevance_score"]] * 3
    texts = await answer("/v1/rerank", query="q", documents=TEXTS, return_documents=True)
    assert [entry["document"] for entry in texts["data"]] == ["2", "0", "-2"]
    without = await answer("/v1/rerank", query="q", documents=TEXTS, return_documents=False)
    assert "document" not in without["results"][0]


async def test_cohere_v1_joins_rank_fields_of_documents_without_text() -> None:
    service = FakeService()
    documents = [{"name": "tide", "note": "2", "other": "x"}, {"note": "0"}]
    response = await post(
        "/v1/rerank", {"query": "q", "documents": documents, "rank_fields": ["name", "note"]}, service
    )
    assert response.status_code == 200
    assert [candidate.passage.text for candidate in service.requests[0].candidates] == ["tide 2", "0"]
    assert response.json()["results"][0]["document"] == {"note": "0"}


@pytest.mark.parametrize("sign", [{"top_k": 2}, {"truncation": True, "top_k": None}, {"truncation": False}])
async def test_voyage_is_recognized_by_its_own_fields(sign: dict[str, Any]) -> None:
    got = await answer("/v1/rerank", query="q", documents=TEXTS, model="rerank-2", return_documents=True, **sign)
    assert got["object"] == "list"
    assert ranking(got["data"]) == BEST_FIRST[: sign.get("top_k") or 3]
    assert got["data"][0]["document"] == "2"
    assert got["usage"] == {"total_tokens": 21}


async def test_tei_returns_a_list_of_scores_and_texts() -> None:
    got = await answer("/rerank", query="q", texts=TEXTS)
    assert ranking(got, "score") == BEST_FIRST
    assert set(got[0]) == {"index", "score"}
    raw = await answer(
        "/rerank", query="q", texts=TEXTS, raw_scores=True, return_text=True, truncation_direction="Right"
    )
    assert [(entry["score"], entry["text"]) for entry in raw] == [(2.0, "2"), (0.0, "0"), (-2.0, "-2")]


async def test_vllm_rerank_returns_scores_or_logits() -> None:
    got = await answer("/rerank", model="m", query="q", documents=TEXTS, truncate_prompt_tokens=228)
    assert ranking(got["results"]) == BEST_FIRST
    assert got["results"][0]["document"] == {"text": "2"}
    assert got["usage"]["prompt_tokens"] == 21
    raw = await answer("/rerank", query="q", documents=TEXTS, use_activation=False)
    assert [result["relevance_score"] for result in raw["results"]] == [2.0, 0.0, -2.0]


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
async def test_vllm_score_keeps_input_order(path: str) -> None:
    got = await answer(path, model="m", text_1="q", text_2=TEXTS)
    assert ranking(got["data"], "score") == [(n, SIGMOID[text]) for n, text in enumerate(TEXTS)]
    assert {entry["object"] for entry in got["data"]} == {"score"}
    assert got["id"].startswith("score-")
    one = await answer(path, queries=["q"], documents="2", use_activation=False)
    assert [entry["score"] for entry in one["data"]] == [2.0]


PATHS = {
    "/v2/rerank": ("documents", "results", "relevance_score"),
    "/v1/rerank": ("documents", "results", "relevance_score"),
    "/rerank": ("documents", "results", "relevance_score"),
    "/score": ("documents", "data", "score"),
    "/v1/ranking": ("passages", "rankings", "logit"),
}


@pytest.mark.parametrize("path", PATHS)
async def test_our_extensions_work_in_every_dialect(path: str) -> None:
    documents, results, score = PATHS[path]
    service = FakeService()
    body: dict[str, Any] = {
        "query": "q",
        "queries": "q",
        documents: [{"id": "a", "title": "t", "text": "2"}, {"id": 7, "text": "0"}],
    }
    body |= {"raw_scores": True, "verbose": True, "truncation": "max_passage", "timeout_ms": 50}
    response = await post(path, body, service)
    assert response.status_code == 200, response.text
    first, second = response.json()[results]
    assert (first["id"], first[score], first["truncated"], first["tokens"]) == ("a", 2.0, False, 7)
    assert second["id"] == "7"
    request = service.requests[0]
    assert (request.truncation, request.timeout_ms) == ("max_passage", 50)
    assert request.candidates[0].passage == ("2", "t")
