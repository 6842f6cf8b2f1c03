"""API keys: who is let in, what the others are told, and how a changed file of keys takes effect."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.http.auth import METRICS
from deployments.http.dialects import ROUTES
from deployments.http.openapi import UNLISTED
from deployments.http.pages import PAGES
from deployments.http.routes import build_http
from deployments.key_file import KeyFile
from deployments.settings import AuthSettings
from reranker.errors import InvalidFile
from reranker.keys import hash_of
from reranker.settings import LimitsSettings
from tests.deployments.http.services import FakeService
from tests.deployments.http.test_refusals import BODIES, message_of
from tests.reranker.test_keys import entry, write

CREATED = "2026-01-01T00:00:00Z"
SCORE, ADMIN, REVOKED, WRONG = "rrk_score", "rrk_admin", "rrk_revoked", "rrk_wrong"
ENTRIES = [
    entry("app", SCORE, tokens_per_minute=700),
    entry("ops", ADMIN, role="admin"),
    entry("old", REVOKED, revoked=CREATED),
]
OPEN = ("/health", "/ready", "/ping", "/.well-known/live", "/.well-known/ready")
CLOSED = (
    "/docs",
    "/openapi.json",
    "/playground",
    "/",
    "/v1/models/fake",
    "/info",
    "/nothing",
    "/health/",
    "//health",
)
PRESENTED: list[dict[str, str]] = [
    {"authorization": f"Bearer {SCORE}"},
    {"authorization": f"bearer  {SCORE} "},
    {"x-api-key": SCORE},
    {"api-key": SCORE},
    {"authorization": "Basic dXNlcjpwYXNz", "X-API-Key": SCORE},
]
REFUSED: list[dict[str, str]] = [
    {},
    {"authorization": f"Bearer {WRONG}"},
    {"authorization": f"Bearer {REVOKED}"},
    {"authorization": SCORE},
    {"authorization": "Bearer "},
    {"authorization": f"Bearer {hash_of(SCORE)}"},
    {"x-api-key": f"{SCORE}x"},
    {"api-key": "app"},
]
RERANK = {"query": "q", "documents": ["1", "2"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "keys.json", {"keys": ENTRIES})


def connect(auth: AuthSettings, service: FakeService | None = None, url: str = "http://test") -> httpx.AsyncClient:
    app = build_http(service or FakeService(), LimitsSettings(), auth=auth)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=url)


@pytest.mark.parametrize("headers", PRESENTED)
async def test_key_is_read_from_each_header_and_its_name_is_the_client(path: Path, headers: dict[str, str]) -> None:
    service = FakeService()
    async with connect(AuthSettings(keys_file=path), service) as client:
        for route in ("/v2/rerank", "/v1/read"):
            assert (await client.post(route, json=RERANK, headers=headers)).status_code == 200
    assert [(request.client, request.tokens_per_minute) for request in service.requests] == [("app", 700)] * 2


@pytest.mark.parametrize("dialect", BODIES)
async def test_missing_wrong_and_revoked_key_are_the_same_401_in_the_shape_of_the_dialect(
    path: Path, dialect: str
) -> None:
    service = FakeService()
    body = dict(BODIES[dialect])
    route = body.pop("path")
    async with connect(AuthSettings(keys_file=path), service) as client:
        answers = [await client.post(route, json=body, headers=headers) for headers in REFUSED]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
    (message,) = {message_of(dialect, answer.json()) for answer in answers}
    assert message.startswith("no valid API key: send one")
    assert service.requests == []


async def test_refusal_of_a_body_that_is_not_read_has_the_default_shape_of_its_path(path: Path) -> None:
    async def chunks() -> Any:
        yield b"{"

    async with connect(AuthSettings(keys_file=path)) as client:
        bodies: list[Any] = [b"{", b"[]", b"", b'{"texts": ["' + b"x" * 20_000 + b'"]}', chunks()]
        for body in bodies:
            answer = await client.post("/rerank", content=body)
            assert answer.status_code == 401
            assert message_of("vLLM rerank", answer.json())
        body = {"texts": ["1"], "query": "q"}
        assert message_of("TEI", (await client.post("/rerank", json=body)).json())


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_only_probes_answer_without_a_key_unless_pages_are_open(path: Path, method: str) -> None:
    async with connect(AuthSettings(keys_file=path)) as client:
        for page in {*OPEN, *CLOSED, *PAGES} - {METRICS}:  # which has rules of its own
            status = (await client.request(method, page)).status_code
            assert (status == 401) == (page not in OPEN), page
            headers = {"x-api-key": SCORE}
            assert (await client.request(method, page, headers=headers)).status_code not in (401, 403), page
    async with connect(AuthSettings(keys_file=path, open_pages=True)) as client:
        for page in {*OPEN, *CLOSED, *PAGES} - {METRICS}:
            assert (await client.request(method, page)).status_code != 401, page


@pytest.mark.parametrize("open_pages", [False, True])
async def test_nothing_but_get_and_head_is_open(path: Path, open_pages: bool) -> None:
    async with connect(AuthSettings(keys_file=path, open_pages=open_pages, open_metrics=True)) as client:
        for route in (*ROUTES, "/v1/read", "/v1/retrieval/a/b/reranking", "/nothing", *OPEN, "/metrics", "/docs"):
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
                assert (await client.request(method, route)).status_code == 401, (method, route)


async def test_metrics_need_the_role_admin_or_a_setting(path: Path) -> None:
    """This application has no such page, so whoever is let in gets a 404 or more."""
    async with connect(AuthSettings(keys_file=path)) as client:
        for key, let_in in ((SCORE, False), (ADMIN, True)):
            answer = await client.get("/metrics", headers={"x-api-key": key})
            assert (answer.status_code == 403) is not let_in
        answer = await client.get("/metrics", headers={"x-api-key": SCORE})
        assert answer.json()["message"].startswith("the role of this API key is 'score': use a key with the role")
        assert "www-authenticate" not in answer.headers
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.post("/rerank", json=RERANK, headers={"x-api-key": ADMIN})).status_code == 200
    async with connect(AuthSettings(keys_file=path, open_metrics=True)) as client:
        assert (await client.get("/metrics")).status_code not in (401, 403)


@pytest.mark.parametrize("url", ["http://10.0.0.7:8000", "http://[2001:db8::1]:8000", "http://0.0.0.0:8000"])
async def test_without_keys_other_machines_get_probes_only_unless_allowed(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(AuthSettings(), url=url) as client:
        for _ in range(2):
            answer = await client.post("/v2/rerank", json=RERANK)
            assert answer.status_code == 503
            assert "set auth.keys_file, or auth.allow_no_keys" in answer.json()["message"]
        assert (await client.get("/health")).status_code == 200
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    async with connect(AuthSettings(allow_no_keys=True), url=url) as client:
        assert (await client.post("/v2/rerank", json=RERANK)).status_code == 200


@pytest.mark.parametrize("url", ["http://127.0.0.1", "http://127.8.8.8", "http://[::1]", "http://[::ffff:127.0.0.1]"])
async def test_without_keys_loopback_is_answered_and_a_client_is_what_it_presents(url: str) -> None:
    service = FakeService()
    async with connect(AuthSettings(), service, url) as client:
        for headers in ({"authorization": "a"}, {"authorization": "b"}, {"x-api-key": "a"}, {"api-key": "c"}, {}):
            assert (await client.post("/v2/rerank", json=RERANK, headers=headers)).status_code == 200
    names = [request.client for request in service.requests]
    assert len(set(names[:2] + names[3:])) == 4
    assert names[0] == hash_of("a") == names[2]
    assert names[-1] == "127.0.0.1"


async def test_headers_over_the_limits_are_a_431(path: Path) -> None:
    app = build_http(FakeService(), LimitsSettings(max_header_bytes=1_000))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for headers in ({"x-long": "x" * 1_000}, {f"x-{n}": "" for n in range(100)}):
            answer = await client.post("/v2/rerank", json=RERANK, headers=headers)
            assert answer.status_code == 431
            assert answer.json()["message"].startswith("the headers exceed 1000 bytes or 100 lines")


async def test_openapi_names_keys_and_401_only_where_there_are_keys(path: Path) -> None:
    for auth, has_keys in ((AuthSettings(), False), (AuthSettings(keys_file=path), True)):
        async with connect(auth) as client:
            document = (await client.get("/openapi.json", headers={"x-api-key": SCORE})).json()
        assert ("securitySchemes" in document["components"]) is has_keys
        for route in set(ROUTES) - set(UNLISTED):
            responses = document["paths"][route.replace(":path", "")]["post"]["responses"]
            assert ("401" in responses) is has_keys


async def test_no_log_and_no_answer_has_a_key(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    async with connect(AuthSettings(keys_file=path)) as client:
        for key in (SCORE, WRONG, REVOKED):
            answer = await client.post("/v2/rerank", json=RERANK, headers={"x-api-key": key})
            assert key not in answer.text + str(answer.headers)
    assert "rrk_" not in caplog.text


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def names(keys: KeyFile, clock: Clock, after_s: float = 1.0) -> set[str]:
    clock.now_s += after_s
    return {key.name for key in (await keys.by_hash()).values()}


@pytest.mark.parametrize("filler", [0, 400], ids=["small", "large"])
async def test_changed_file_is_read_again_within_a_second(path: Path, filler: int) -> None:
    clock = Clock()
    keys = KeyFile(path, clock)
    many = [entry(f"other-{n}", revoked=CREATED) for n in range(filler)]
    write(path, {"keys": [*ENTRIES[:1], entry("new"), *many]})
    assert await names(keys, clock, 0.9) == {"app", "ops"}
    assert await names(keys, clock, 0.1) == {"app", "new"}
    replacement = write(path.with_name("next.json"), {"keys": []})
    os.replace(replacement, path)  # noqa: PTH105  (as an atomic write does)
    assert await names(keys, clock) == set()


def revoke_all_readably(path: Path) -> None:
    write(path, {"keys": []}, 0o644)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: write(path, json.dumps({"keys": ENTRIES})[:100]),
        lambda path: write(path, ""),
        lambda path: path.unlink(),
        lambda path: path.chmod(0o644),
        revoke_all_readably,
    ],
    ids=["half", "empty", "gone", "mode", "readable"],
)
async def test_old_keys_stay_while_the_file_is_broken_and_the_log_says_so_once(
    path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    keys = KeyFile(path, clock)
    damage(path)
    for _ in range(3):
        assert await names(keys, clock) == {"app", "ops"}
    (record,) = caplog.records
    assert record.getMessage().startswith(f"API keys: {path}: ")
    assert record.getMessage().endswith("; the 2 keys that were read before stay")
    write(path, {"keys": ENTRIES[:1]})
    assert await names(keys, clock) == {"app"}


@pytest.mark.parametrize(("content", "mode"), [("", 0o600), ("{", 0o600), ('{"keys": []}', 0o644), (None, 0)])
def test_endpoint_does_not_start_with_a_broken_readable_or_missing_file(
    tmp_path: Path, content: str | None, mode: int
) -> None:
    path = tmp_path / "keys.json"
    if content is not None:
        write(path, content, mode)
    with pytest.raises(InvalidFile, match=str(path)):
        build_http(FakeService(), LimitsSettings(), auth=AuthSettings(keys_file=path))
