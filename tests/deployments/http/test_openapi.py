"""The OpenAPI document tells the truth: it allows what is accepted, forbids what is refused, has every answer."""

from functools import cache
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from deployments.http.dialects import ROUTES, parse
from deployments.http.openapi import UNLISTED
from deployments.http.routes import build_http
from reranker.documents import check_request
from reranker.errors import Forbidden, InvalidRequest, RerankerError, Unauthenticated
from reranker.settings import LimitsSettings
from tests.deployments.http.bodies import BODY, DOCUMENTS
from tests.deployments.http.services import FakeService
from tests.deployments.http.test_refusals import BODIES, EXAMPLES

LISTED = [path for path in ROUTES if path not in UNLISTED]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-2, -1, 0, 1, 999, 1_000]),
    st.sampled_from([2.0, 1.5, "2", "-1", "0", "03", "true", "True", "yes", "NONE"]),
    st.sampled_from(["left", "right", "Right", "model", "error", "", " "]),
    st.sampled_from([{"text": "a"}, {"text": ""}, {"text": None}, {"title": "a"}, {"image": "a"}, {}]),
    st.sampled_from([{"content": []}, {"content": [{"text": "a"}]}, {"content": [{"type": "image", "text": "a"}]}]),
    st.sampled_from([{"id": 1.5, "a": "b"}, {"id": 1, "text": "a"}, {"text": "a", "title": 3}]),
    DOCUMENTS,
    st.lists(st.lists(st.text(max_size=3), min_size=1, max_size=3), max_size=2),
)
OPTIONS = [
    "top_n",
    "top_k",
    "priority",
    "truncation",
    "truncate",
    "truncation_side",
    "truncation_direction",
    "truncate_prompt_tokens",
    "model",
    "return_documents",
    "return_text",
    "return_input",
    "use_activation",
    "activation",
    "verbose",
    "texts",
    "property",
    "passages",
    "input",
]
TEXTS = ("queries", "text_1", "data_1", "documents", "items", "text_2", "data_2")
LIKELY = st.builds(
    lambda body, options: body | options,
    st.fixed_dictionaries({"query": st.just("q") | VALUES, "documents": DOCUMENTS | st.lists(VALUES, max_size=2)}),
    st.dictionaries(st.sampled_from(OPTIONS), VALUES, max_size=2),
)
SCORES = st.fixed_dictionaries({}, optional=dict.fromkeys(TEXTS, VALUES | st.just("q")))
RENAMED = st.sampled_from(["texts", "passages", "input", "inputs"])


def app(service: FakeService | None = None) -> Any:
    return build_http(service or FakeService(), LimitsSettings())


@cache
def document() -> dict[str, Any]:
    opened: dict[str, Any] = app().openapi()
    return opened


def operation(path: str) -> dict[str, Any]:
    found: dict[str, Any] = document()["paths"][path.replace(":path", "")]["post"]
    return found


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema | {"components": document()["components"]})


@cache
def body_validator(path: str) -> Draft202012Validator:
    name = operation(path)["requestBody"]["$ref"].rpartition("/")[2]
    return validator(document()["components"]["requestBodies"][name]["content"]["application/json"]["schema"])


def is_accepted(path: str, body: dict[str, Any]) -> bool:
    try:
        check_request(parse(path, body).request())
    except InvalidRequest:
        return False
    return True


def sayable(body: dict[str, Any]) -> dict[str, Any]:
    """The body without what no JSON schema can say: how many queries there are, which fields the documents have."""
    some = {name: value for name, value in body.items() if name != "rank_fields"}
    for name in ("queries", "text_1", "data_1"):
        if isinstance(some.get(name), list):
            some[name] = some[name][:1]
    return some


@given(path=st.sampled_from(LISTED), body=BODY | LIKELY | SCORES, documents=st.none() | RENAMED)
def test_schema_allows_exactly_what_is_accepted(path: str, body: dict[str, Any], documents: str | None) -> None:
    body = sayable(body)
    if documents and "documents" in body:
        body[documents] = body.pop("documents")
    if ROUTES[path].dialects[0].name == "DashScope":
        body = {"input": {name: body.pop(name) for name in ("query", "documents") if name in body}, **body}
    assert body_validator(path).is_valid(body) == is_accepted(path, body)


GUARDS = (Unauthenticated, Forbidden)  # come before any dialect, and only where there are keys


@pytest.mark.parametrize("dialect", BODIES)
@pytest.mark.parametrize(
    "kind",
    [None, *(kind for kind in EXAMPLES if kind not in GUARDS)],
    ids=lambda kind: kind.__name__ if kind else "answer",
)
async def test_every_answer_is_declared(dialect: str, kind: type[RerankerError] | None) -> None:
    body = dict(BODIES[dialect])
    path = body.pop("path")
    transport = httpx.ASGITransport(app(FakeService(EXAMPLES[kind] if kind else None)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post(path, json=body | {"verbose": True})
    assert body_validator(path).is_valid(body)
    declared = operation(path)["responses"][str(response.status_code)]
    assert all(name in response.headers for name, header in declared["headers"].items() if header.get("required"))
    sent_ours = {name for name in response.headers if name.startswith(("x-rerank", "retry-after"))}
    assert sent_ours <= {name.lower() for name in declared["headers"]}
    validator(declared["content"]["application/json"]["schema"]).validate(response.json())
