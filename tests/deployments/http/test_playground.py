"""The playground's files as they are served, and what `/v1/read` answers."""

import re
from importlib.resources import files
from typing import Any

import httpx
import pytest

from deployments.http.routes import build_http
from reranker.errors import Overloaded, RerankerError
from reranker.settings import LimitsSettings
from tests.deployments.http.services import FakeService

FILES = {
    file.name: file.read_text("utf-8") for file in files("deployments.http.playground").iterdir() if "." in file.name
}
SERVED = {name: text for name, text in FILES.items() if not name.endswith(".py")}
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
SELF_ONLY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def client(service: FakeService | None = None) -> httpx.AsyncClient:
    app = build_http(service or FakeService(), LimitsSettings())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def path_of(name: str) -> str:
    return "/playground" if name == "index.html" else f"/playground/{name}"


@pytest.mark.parametrize("name", SERVED)
async def test_file_is_served_under_a_policy_that_lets_nothing_out(name: str) -> None:
    async with client() as http:
        get, head = await http.get(path_of(name)), await http.head(path_of(name))
    assert (get.status_code, get.text) == (200, SERVED[name])
    assert get.headers["content-type"] == f"{TYPES[name.rpartition('.')[2]]}; charset=utf-8"
    assert get.headers["content-security-policy"] == SELF_ONLY
    assert get.headers["x-content-type-options"] == "nosniff"
    assert (head.status_code, head.headers, head.content) == (200, get.headers, b"")


@pytest.mark.parametrize("path", ["/playground/__init__.py", "/playground/..%2f__init__.py", "/playground/other.js"])
async def test_nothing_else_is_served(path: str) -> None:
    async with client() as http:
        assert (await http.get(path)).status_code == 404


@pytest.mark.parametrize("name", SERVED)
def test_file_names_no_other_host(name: str) -> None:
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s'\"]*", SERVED[name])) - {"http://www.w3.org/2000/svg"}
    assert not addresses


def test_page_and_its_modules_ask_only_for_files_that_are_served() -> None:
    asked = set(re.findall(r'(?:src|href)="playground/([^"]+)"', SERVED["index.html"]))
    for name, text in SERVED.items():
        if name.endswith(".js"):
            asked |= set(re.findall(r'from "\./([^"]+)"', text))
    assert asked == SERVED.keys() - {"index.html"}


def test_page_has_nothing_inline_that_the_policy_would_block() -> None:
    assert not re.findall(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=", SERVED["index.html"])
    assert not [name for name, text in SERVED.items() if "innerHTML" in text or "eval(" in text]


def read_of(index: int, title: int, text: int) -> dict[str, Any]:
    return {"index": index, "title_read": [0, title], "text_read": [0, text], "truncated": True, "tokens": 7}


async def test_read_answers_what_of_each_document_is_read() -> None:
    service = FakeService()
    body = {"query": "tide", "documents": ["at noon", {"id": "a", "title": "t", "text": "1234"}], "other": 1}
    async with client(service) as http:
        response = await http.post("/v1/read", json=body | {"truncation": "max_passage"})
    assert response.json() == {"query": {"read": [0, 4]}, "documents": [read_of(0, 0, 3), read_of(1, 1, 2)]}
    assert response.headers["x-rerank-ignored"] == "other"
    assert service.requests[0].truncation == "max_passage"


@pytest.mark.parametrize(
    ("content", "failure", "status"),
    [
        (b'{"query": "tide"}', None, 400),
        (b'{"query": "tide", "documents": [3]}', None, 400),
        (b"[]", None, 400),
        (b'{"query": "tide", "documents": ["a"], "timeout_ms": 1e999}', None, 400),
        (b'{"query": "tide", "documents": ["a"]}', Overloaded(2.5), 429),
        (b'{"query": "tide", "documents": ["a"]}', RuntimeError("a bug"), 503),
    ],
)
async def test_read_refuses_as_the_dialects_do(content: bytes, failure: RerankerError | None, status: int) -> None:
    async with client(FakeService(failure)) as http:
        response = await http.post("/v1/read", content=content)
    assert response.status_code == status
    assert isinstance(response.json()["message"], str)
    assert ("retry-after" in response.headers) == (status == 429)
