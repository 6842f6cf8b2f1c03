"""CORS is off, or on for the origins that are named; errors and refusals carry its headers as well."""

from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from deployments.http.routes import build_http
from deployments.settings import HttpSettings
from reranker.errors import Overloaded
from reranker.settings import LimitsSettings
from tests.deployments.http.services import FakeService

APP = "https://app.example"
BODY = {"query": "q", "documents": ["1"]}


async def send(
    method: str, origins: list[str], origin: str = APP, body: Any = None, failure: Exception | None = None
) -> httpx.Response:
    app = build_http(FakeService(failure), LimitsSettings(), HttpSettings.model_validate({"cors_origins": origins}))
    headers = {"origin": origin}
    if method == "OPTIONS":
        headers |= {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.request(method, "/v1/rerank", headers=headers, json=body)


@pytest.mark.parametrize("allowed", [APP, "*"])
async def test_page_of_an_allowed_origin_may_ask_and_read_the_answer(allowed: str) -> None:
    preflight = await send("OPTIONS", [allowed])
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == allowed
    assert preflight.headers["access-control-allow-headers"] == "authorization"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    answer = await send("POST", [allowed], body=BODY)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, allowed)
    assert "x-rerank-id" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("method", "body", "failure", "status"),
    [
        ("POST", {}, None, 400),
        ("POST", BODY, Overloaded(1.0), 429),
        ("POST", BODY, ZeroDivisionError("a bug"), 503),
        ("PUT", BODY, None, 405),
    ],
)
async def test_errors_can_be_read_as_well(method: str, body: Any, failure: Exception | None, status: int) -> None:
    response = await send(method, [APP, "http://localhost:3000"], body=body, failure=failure)
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (status, APP)
    assert "Origin" in response.headers["vary"]


@pytest.mark.parametrize("origin", ["https://other.example", "http://app.example", "https://app.example.org", "null"])
async def test_page_of_another_origin_is_allowed_nothing(origin: str) -> None:
    preflight = await send("OPTIONS", [APP], origin)
    assert preflight.status_code == 400
    assert "access-control-allow-origin" not in preflight.headers
    assert "access-control-allow-origin" not in (await send("POST", [APP], origin, BODY)).headers


async def test_no_page_is_allowed_anything_by_default() -> None:
    assert (await send("OPTIONS", [])).status_code == 405
    answer = await send("POST", [], body=BODY)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "origin",
    [
        "app.example",
        "https://app.example/",
        "https://*.example",
        "HTTPS://app.example",
        "https://app.example:443",
        "",
    ],
)
def test_origin_that_no_browser_sends_is_refused_at_startup(origin: str) -> None:
    with pytest.raises(ValidationError, match="is no origin"):
        HttpSettings.model_validate({"cors_origins": [origin]})


def test_all_origins_are_allowed_by_nothing_but_a_star_alone() -> None:
    with pytest.raises(ValidationError, match="name no others beside it"):
        HttpSettings.model_validate({"cors_origins": ["*", APP]})
