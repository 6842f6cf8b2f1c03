"""Errors reach the client in the format of its own dialect: never a 500, never a traceback."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.http.dialects import ROUTES, choose
from deployments.http.routes import build_http
from reranker import errors
from reranker.errors import InvalidRequest, RerankerError
from reranker.pairs import CandidateScores
from reranker.ranking import ranked
from reranker.settings import LimitsSettings
from reranker.types import RerankOutcome
from tests.deployments.http.bodies import BODY
from tests.deployments.http.services import FakeService

EXAMPLES: dict[type[RerankerError], RerankerError] = {
    errors.MalformedBody: errors.MalformedBody("the body is not JSON"),
    errors.UnreadEncoding: errors.UnreadEncoding("br"),
    errors.InvalidField: errors.InvalidField("top_n", "must be at least 1, got 0"),
    errors.EmptyField: errors.EmptyField("query", "is empty"),
    errors.TooManyCandidates: errors.TooManyCandidates(12_000, 10_000),
    errors.PairTooLong: errors.PairTooLong(3, 228),
    errors.UnscorableDocument: errors.UnscorableDocument(3, "the model fails"),
    errors.UnknownModel: errors.UnknownModel("other", "fake"),
    errors.Unauthenticated: errors.Unauthenticated(),
    errors.Forbidden: errors.Forbidden("score", "admin"),
    errors.HeadersTooLarge: errors.HeadersTooLarge(32_768, 100),
    errors.BodyTooLarge: errors.BodyTooLarge(10_000),
    errors.TooManyValues: errors.TooManyValues(200_000),
    errors.BodyTooSlow: errors.BodyTooSlow(30_000),
    errors.InvalidFile: errors.InvalidFile("a.jsonl", "is empty", 3),
    errors.TooManyBadRows: errors.TooManyBadRows("a.jsonl", "is not JSON", 3, 1, 0),
    errors.JobRefused: errors.JobRefused("another job writes there"),
    errors.TrainingFailed: errors.TrainingFailed("step 3: the loss is nan"),
    errors.CheckpointError: errors.CheckpointError("two logits"),
    errors.FidelityError: errors.FidelityError("golden pair 3 differs", "import the checkpoint again"),
    errors.MissingWeights: errors.MissingWeights("model lacks score.weight"),
    errors.Overloaded: errors.Overloaded(1.4),
    errors.NoScorerYet: errors.NoScorerYet(1.4),
    errors.RateLimited: errors.RateLimited(1.4, 5_000),
    errors.Unavailable: errors.Unavailable("no replica"),
    errors.DeadlineExceeded: errors.DeadlineExceeded(50),
    errors.CannotWrite: errors.CannotWrite("out: no space left"),
    errors.NonFiniteLogit: errors.NonFiniteLogit(3),
}
ABSTRACT = {errors.InvalidRequest, errors.ServiceError, errors.DocumentError}
DASHSCOPE = "/api/v1/services/rerank/text-rerank/text-rerank"
BODIES: dict[str, dict[str, Any]] = {
    "Cohere v2": {"path": "/v2/rerank", "query": "q", "documents": ["1"]},
    "Cohere v1, Jina, vLLM": {"path": "/v1/rerank", "query": "q", "documents": ["1"]},
    "Voyage": {"path": "/v1/rerank", "query": "q", "documents": ["1"], "top_k": 1},
    "TEI": {"path": "/rerank", "query": "q", "texts": ["1"]},
    "TEI pairs": {"path": "/predict", "inputs": [["q", "1"]]},
    "Mixedbread": {"path": "/v1/reranking", "query": "q", "input": ["1"]},
    "vLLM rerank": {"path": "/rerank", "query": "q", "documents": ["1"]},
    "vLLM score": {"path": "/score", "queries": "q", "documents": ["1"]},
    "Weaviate": {"path": "/rerank", "query": "q", "documents": ["1"], "property": ""},
    "DashScope": {"path": DASHSCOPE, "input": {"query": "q", "documents": ["1"]}},
    "NVIDIA NIM": {"path": "/v1/ranking", "query": {"text": "q"}, "passages": [{"text": "1"}]},
}


def tree(root: type[RerankerError]) -> Iterator[type[RerankerError]]:
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:  # Ray derives classes of its own from those that cross processes
            yield kind
            yield from tree(kind)


async def post(body: dict[str, Any] | bytes, path: str, service: FakeService | None = None) -> httpx.Response:
    app = build_http(service or FakeService(), LimitsSettings(max_body_bytes=10_000))
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.post(path, content=content)


def message_of(dialect: str, body: Any) -> str:
    """The error message, from the field where clients of the dialect look for it."""
    match dialect:
        case "Cohere v2":
            return str(body["message"])
        case "Cohere v1, Jina, vLLM":
            assert body["message"] == body["detail"] == body["error"]["message"]
            return str(body["message"])
        case "Voyage" | "Mixedbread":
            return str(body["detail"])
        case "TEI" | "TEI pairs":
            assert body["error_type"] in {"Validation", "Empty", "Overloaded", "Unhealthy", "Backend"}
            return str(body["error"])
        case "Weaviate":
            return str(body["error"])
        case "DashScope":
            assert set(body) == {"code", "message", "request_id"}
            return str(body["message"])
        case "NVIDIA NIM":
            assert (body["object"], body["detail"]) == ("error", {})
            assert body["type"] in {"invalid_request_error", "rate_limit_error", "internal_server_error"}
            return str(body["message"])
        case _:
            assert set(body["error"]) == {"message", "type", "param", "code"}
            return str(body["error"]["message"])


def test_every_error_has_an_example() -> None:
    assert set(tree(RerankerError)) - ABSTRACT == set(EXAMPLES)


@pytest.mark.parametrize("dialect", BODIES)
@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
async def test_every_error_has_status_and_message_in_every_dialect(dialect: str, kind: type[RerankerError]) -> None:
    body = dict(BODIES[dialect])
    response = await post(body, body.pop("path"), FakeService(EXAMPLES[kind]))

    allowed = {400, 401, 403, 404, 408, 413, 415, 422, 431} if issubclass(kind, InvalidRequest) else {429, 503, 504}
    assert response.status_code in allowed
    assert message_of(dialect, response.json()) == str(EXAMPLES[kind])
    assert response.headers.get("retry-after") == ("2" if issubclass(kind, errors.Overloaded) else None)
    assert response.headers.get("retry-after-ms") == ("1400" if issubclass(kind, errors.Overloaded) else None)


@pytest.mark.parametrize("dialect", BODIES)
async def test_unexpected_exception_is_a_503_without_internal_details(dialect: str) -> None:
    body = dict(BODIES[dialect])
    response = await post(body, body.pop("path"), FakeService(ZeroDivisionError("secret detail")))
    assert response.status_code == 503
    assert "secret" not in response.text


UNPROCESSABLE = [
    path for path, route in ROUTES.items() if route.dialects[0].name in ("NVIDIA NIM", "TEI", "TEI pairs")
]
WRONG = [
    ({"query": None}, "query"),
    ({"query": 3}, "query"),
    ({"documents": None}, "documents"),
    ({"documents": "one text"}, "documents"),
    ({"documents": [3]}, "documents.0"),
    ({"documents": ["a", {"text": None}]}, "documents.1.text"),
    ({"documents": [{"image": "http://…"}]}, "documents.0.text"),
    ({"top_n": 0}, "top_n"),
    ({"top_n": -1}, "top_n"),
    ({"top_n": "3"}, "top_n"),
    ({"top_n": True}, "top_n"),
    ({"top_n": 1.5}, "top_n"),
    ({"timeout_ms": 0}, "timeout_ms"),
    ({"on_deadline": "never"}, "on_deadline"),
    ({"priority": -1}, "priority"),
    ({"priority": 1000}, "priority"),
    ({"priority": "high"}, "priority"),
    ({"truncation": "left"}, "truncation"),
    ({"verbose": "yes"}, "verbose"),
]


@pytest.mark.parametrize(("change", "field"), WRONG)
async def test_invalid_field_is_named_in_one_line(change: dict[str, Any], field: str) -> None:
    response = await post({"query": "q", "documents": ["a"]} | change, "/v2/rerank")
    assert response.status_code == 400
    message = response.json()["message"]
    assert message.startswith(f"{field}: ")
    assert "\n" not in message


@pytest.mark.parametrize("dialect", BODIES)
async def test_missing_field_is_named(dialect: str) -> None:
    body = dict(BODIES[dialect])
    path = body.pop("path")
    for field in [name for name in body if name not in ("top_k", "property")]:
        response = await post({name: value for name, value in body.items() if name != field}, path)
        assert response.status_code in (400, 422)
        assert field in response.text or field in ("texts", "input")  # the mark of a dialect


async def test_voyage_error_names_top_k_and_score_accepts_one_query_or_as_many_as_documents() -> None:
    response = await post({"query": "q", "documents": ["a"], "top_k": 0}, "/v1/rerank")
    assert response.json()["detail"].startswith("top_k: ")
    response = await post({"queries": ["a", "b"], "documents": ["a", "b", "c"]}, "/score")
    assert "got 2 for 3 documents: send one query, or one for each" in response.json()["error"]["message"]


@pytest.mark.parametrize(("raw", "status"), [(b"{", 400), (b"[]", 400), (b"\xff", 400), (b"x" * 10_001, 413)])
@pytest.mark.parametrize("path", ROUTES)
async def test_unreadable_body_is_rejected_in_the_format_of_its_path(raw: bytes, status: int, path: str) -> None:
    response = await post(raw, path)
    assert response.status_code == status or (path in UNPROCESSABLE and response.status_code == 422)
    assert message_of(ROUTES[path].dialects[0].name, response.json())


@given(path=st.sampled_from(list(ROUTES)), body=BODY)
def test_any_object_gets_a_json_answer_or_a_4xx(path: str, body: dict[str, Any]) -> None:
    dialect = choose(path, body)
    try:
        call = dialect.parse(body)
    except InvalidRequest as error:
        status, content = dialect.failure(error)
        assert 400 <= status < 500
        json.dumps(content, allow_nan=False)
        return
    candidates = call.request().candidates
    logits = np.zeros(len(candidates), dtype=np.float32)
    scores = CandidateScores(logits, np.zeros(len(candidates), dtype=bool), np.full(len(candidates), 3, np.int32))
    ranking = ranked(candidates, scores)
    json.dumps(call.response(RerankOutcome("id", "model", ranking, 9)), allow_nan=False)
