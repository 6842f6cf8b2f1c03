"""Bodies made to hurt others: refused before they cost anything, in the shape of their path's dialect."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from deployments.http.dialects import ROUTES
from deployments.http.routes import build_http
from reranker.settings import LimitsSettings
from tests.deployments.http.services import FakeService

LIMITS = LimitsSettings(max_documents=100, max_json_values=1_000, max_body_bytes=30_000, max_bytes_in_flight=40_000)


def client_of(service: FakeService, limits: LimitsSettings = LIMITS) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(build_http(service, limits))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def post(path: str, body: bytes | dict[str, Any], **headers: str) -> tuple[httpx.Response, FakeService]:
    service = FakeService()
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with client_of(service) as client:
        return await client.post(path, content=content, headers=headers), service


def many(item: str, count: int) -> bytes:
    return f'{{"query": "a", "documents": [{",".join([item] * count)}]}}'.encode()


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("item", ['""', "[]", '{"text":""}', '{"text":"","a":{"b":[0,0,0]}}', "null", "0"])
async def test_body_of_too_many_values_is_refused_before_it_is_parsed(path: str, item: str) -> None:
    response, service = await post(path, many(item, min(2_000, 29_000 // (len(item) + 1))))
    assert response.status_code == 413
    assert "more than 1000 JSON values" in response.text
    assert not service.requests


async def test_commas_and_brackets_of_a_text_are_no_values() -> None:
    response, service = await post("/v2/rerank", {"query": "a", "documents": ["1,[{" * 2_000, '\\",' * 2_000]})
    assert response.status_code == 200, response.text
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("path", "field"),
    [("/v2/rerank", "documents"), ("/rerank", "texts"), ("/score", "text_2"), ("/v1/ranking", "passages")],
)
async def test_too_many_documents_are_refused_before_candidates_are_built(path: str, field: str) -> None:
    body = {"query": "a", "text_1": "a", field: [""] * 101}
    response, service = await post(path, body)
    assert response.status_code in (400, 422)
    assert "101 documents, limit 100" in response.text
    assert not service.requests


async def test_rank_fields_are_bounded_because_each_document_is_searched_for_each() -> None:
    response, _ = await post("/v1/rerank", {"query": "a", "documents": [{"a": "b"}], "rank_fields": ["x"] * 101})
    assert response.status_code == 400
    assert response.json()["message"].startswith("rank_fields: ")


NUMBERS = ["1e999", "-1e999", "NaN", "Infinity", "-Infinity", "1" * 400 + ".0"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    ("path", "documents", "field"),
    [
        ("/v1/rerank", '"documents": ["b", {"text": "", "meta": {"score": [0, %s]}}]', "documents.1.meta.score.1"),
        ("/rerank", '"documents": [{"text": "", "score": %s}]', "documents.0.score"),
        ("/rerank", '"texts": ["a"], "other": %s', "other"),
        ("/v1/score", '"queries": "a", "documents": [{"text": "", "score": %s}]', "documents.0.score"),
        ("/v2/rerank", '"documents": [{"text": "", "score": %s}]', "documents.0.score"),
        ("/v1/rerank", '"top_k": 1, "documents": [{"text": "\\ud800", "score": %s}]', "documents.0.score"),
    ],
)
async def test_number_that_json_cannot_give_back_is_refused_by_name(
    number: str, path: str, documents: str, field: str
) -> None:
    body = f'{{"query": "a", {documents % number}}}'.encode()
    response, service = await post(path, body)
    assert response.status_code == (422 if "texts" in documents else 400)
    answer = response.json()
    error = answer.get("error", answer.get("detail", answer.get("message")))
    message = error["message"] if isinstance(error, dict) else error
    assert message == f"{field}: must be a finite number: JSON has no NaN or Infinity"
    assert not service.requests


async def test_whatever_can_be_parsed_can_be_echoed() -> None:
    nested: Any = "end"
    for _ in range(190):
        nested = [nested]
    document = {"text": "2", "nested": nested, "int": 10**4_000, "float": 1.7e308, "k\x00": "\x7f\u2028🌊"}
    response, _ = await post("/v1/rerank", {"query": "a", "documents": [document]})
    assert response.status_code == 200
    assert response.json()["results"][0]["document"] == document
    lone = b'{"query": "a", "documents": [{"text": "2", "\\ud800": ["\\udfff"]}]}'
    response, _ = await post("/v1/rerank", lone)
    assert response.json()["results"][0]["document"] == {"text": "2", "\ufffd": ["\ufffd"]}


@pytest.mark.parametrize("field", ["model", "truncation", "truncation_direction", "top_n", "on_deadline"])
async def test_error_message_shows_the_beginning_of_a_long_value(field: str) -> None:
    body = {"query": "a", "texts" if field == "truncation_direction" else "documents": ["b"], field: "x" * 20_000}
    response, _ = await post("/rerank", body)
    assert len(response.content) < 1_000 or response.status_code == 200


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate, gzip", "gzip, gzip"])
async def test_compressed_body_is_refused_unread(encoding: str) -> None:
    headers = {"content-encoding": encoding}
    response, _ = await post("/v2/rerank", b"\x1f\x8b" + bytes(1_000), **headers)
    assert response.status_code == 415
    assert "compressed" in response.json()["message"]


async def test_gzip_body_is_read() -> None:
    body = {"query": "a", "documents": ["2", "3"]}
    response, _ = await post("/v2/rerank", gzip.compress(json.dumps(body).encode()), **{"content-encoding": "GZIP"})
    assert response.status_code == 200, response.text
    assert [result["index"] for result in response.json()["results"]] == [1, 0]


WHOLE = gzip.compress(b'{"query": "a", "documents": ["2"]}')


@pytest.mark.parametrize("packed", [b"", b"{}", WHOLE[:-1], WHOLE[:12], WHOLE + b"x", WHOLE + WHOLE])
async def test_damaged_gzip_is_refused(packed: bytes) -> None:
    response, service = await post("/v2/rerank", packed, **{"content-encoding": "gzip"})
    assert response.status_code == 400
    assert "gzip" in response.json()["message"]
    assert not service.requests


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"query": "' + b"a" * 100_000_000, "exceeds 30000 bytes"),
        (b'{"query": "a", "documents": [' + b"0," * 10_000, "more than 1000 JSON values"),
    ],
)
async def test_gzip_bomb_is_unpacked_only_as_far_as_the_limits(text: bytes, said: str) -> None:
    response, service = await post("/v2/rerank", gzip.compress(text, 1), **{"content-encoding": "gzip"})
    assert response.status_code == 413
    assert said in response.text
    assert not service.requests


async def endless(first: bytes, sent: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    """A body that stops half-way."""
    yield first
    if sent:
        sent.set()
    await asyncio.Event().wait()


@pytest.mark.parametrize("path", ROUTES)
async def test_half_sent_body_ends_in_a_408_and_holds_nothing_any_more(path: str) -> None:
    limits = LIMITS.model_copy(update={"body_timeout_ms": 30})
    async with client_of(FakeService(), limits) as client:
        for _ in range(2):  # two together would exceed the budget
            response = await client.post(path, content=endless(b'{"query": "' + b"a" * 25_000))
            assert response.status_code == 408
            assert "did not arrive within 30 ms" in response.text


async def test_bodies_beyond_the_bytes_in_flight_are_429s_until_others_are_answered() -> None:
    service = FakeService()
    async with client_of(service) as client:
        sent = asyncio.Event()
        half = asyncio.create_task(client.post("/v2/rerank", content=endless(b'{"query": "' + b"a" * 25_000, sent)))
        await sent.wait()
        await asyncio.sleep(0)
        body = json.dumps({"query": "a", "documents": ["2" + " " * 10_000]}).encode()
        refused = await client.post("/v2/rerank", content=body)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        small = await client.post("/v2/rerank", json={"query": "a", "documents": ["2"]})
        other = await client.post("/v2/rerank", content=body, headers={"authorization": "another client"})
        assert (small.status_code, other.status_code) == (200, 200)
        half.cancel()
        await asyncio.wait({half})
        assert (await client.post("/v2/rerank", content=body)).status_code == 200
