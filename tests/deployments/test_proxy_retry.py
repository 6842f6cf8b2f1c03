"""The proxy retries a request, with its whole body, if its gateway died; it retries nothing else."""

import asyncio
from collections.abc import Sequence

import pytest
from ray.serve._private import constants
from starlette.types import Message, Receive, Scope, Send

from deployments.proxy_retry import ProxyRetry, middlewares
from reranker.settings import LimitsSettings

PARTS = [b"a" * 10, b"b" * 10, b"c"]


class Gateways:
    """An ASGI application. It reads `reads` parts of each of the first `lost` requests and gives them no response."""

    def __init__(self, lost: int, reads: int = 3) -> None:
        self.lost, self._reads = lost, reads
        self.bodies: list[list[bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lost = len(self.bodies) < self.lost
        body: list[bytes] = []
        self.bodies.append(body)
        for _ in range(self._reads if lost else len(PARTS)):
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body.append(message["body"])
        if not lost:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"".join(body)})


class Client:
    def __init__(self, disconnects: bool = False) -> None:
        self._parts = [{"type": "http.request", "body": part, "more_body": part != PARTS[-1]} for part in PARTS]
        if disconnects:
            self._parts[1:] = [{"type": "http.disconnect"}] * 2
        self.got: list[Message] = []

    async def receive(self) -> Message:
        await asyncio.sleep(0)
        return self._parts.pop(0)

    async def send(self, message: Message) -> None:
        self.got.append(message)


async def send(
    gateways: Gateways, path: str = "/v2/rerank", max_body_bytes: int = 100, disconnects: bool = False
) -> Client:
    client = Client(disconnects)
    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    await ProxyRetry(gateways, LimitsSettings(max_body_bytes=max_body_bytes))(scope, client.receive, client.send)
    return client


def joined(bodies: Sequence[Sequence[bytes]]) -> list[bytes]:
    return [b"".join(body) for body in bodies]


@pytest.mark.parametrize("lost", [0, 1, 2])
@pytest.mark.parametrize("reads", [0, 1, 3])
async def test_lost_request_is_retried_with_its_whole_body(lost: int, reads: int) -> None:
    gateways = Gateways(lost, reads)
    client = await send(gateways)
    assert [message["type"] for message in client.got] == ["http.response.start", "http.response.body"]
    assert client.got[1]["body"] == b"".join(PARTS)
    assert joined(gateways.bodies) == [b"".join(PARTS[:reads])] * lost + [b"".join(PARTS)]


async def test_request_is_retried_twice_at_most() -> None:
    gateways = Gateways(lost=100)
    assert (await send(gateways)).got == []
    assert len(gateways.bodies) == 3


async def test_retries_of_many_lost_requests_stay_within_one_budget() -> None:
    """A fault does not grow into a retry storm: 100 retries, and one for every two requests."""
    gateways = Gateways(lost=10_000)
    middleware = ProxyRetry(gateways)
    clients = [Client() for _ in range(300)]
    scope = {"type": "http", "method": "POST", "path": "/v2/rerank", "headers": []}
    await asyncio.gather(*(middleware(scope, client.receive, client.send) for client in clients))
    assert len(gateways.bodies) == 300 + 100 + 150


async def test_requests_of_other_applications_earn_no_retries() -> None:
    gateways = Gateways(lost=10_000)
    middleware = ProxyRetry(gateways)
    for path, count in (("/another/application", 300), ("/v2/rerank", 100)):
        scope = {"type": "http", "method": "POST", "path": path, "headers": []}
        clients = [Client() for _ in range(count)]
        await asyncio.gather(*(middleware(scope, client.receive, client.send) for client in clients))
    assert len(gateways.bodies) == 300 + 100 + 100 + 50


async def test_retried_request_has_the_scope_that_the_first_attempt_had() -> None:
    """An application may change the scope that it is given, as a router does."""
    paths: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        scope["path"] = "/changed"

    client = Client()
    await ProxyRetry(app)(
        {"type": "http", "method": "GET", "path": "/ready", "headers": []}, client.receive, client.send
    )
    assert paths == ["/ready"] * 3


@pytest.mark.parametrize(
    ("method", "path", "route_prefix", "attempts"),
    [
        ("POST", "/v1/rerank", "/", 2),
        ("GET", "/health", "/", 2),
        ("GET", "/ready", "/", 2),
        ("GET", "/v1/models", "/", 2),
        ("GET", "/info", "/", 2),
        ("HEAD", "/health", "/", 2),
        ("GET", "/v1/models/org/name", "/", 2),
        ("POST", "/v1/retrieval/org/name/reranking", "/", 2),
        ("POST", "/v1/read", "/", 2),
        ("POST", "/ours/v1/retrieval/name/reranking", "/ours", 2),
        ("POST", "/v1/retrieval/name/embeddings", "/", 1),
        ("POST", "/ours/v1/rerank", "/ours", 2),
        ("POST", "/ours/v1/rerank", "/ours/", 2),
        ("POST", "/another/application", "/", 1),
        ("POST", "/another/v1/rerank", "/", 1),  # another application may have a path that ends like ours
        ("POST", "/another/v1/rerank", "/ours", 1),
        ("POST", "/v1/rerank", "/ours", 1),
        ("GET", "/another/health", "/", 1),
        ("GET", "/charge-a-credit-card", "/", 1),
        ("PUT", "/v1/rerank", "/", 1),
    ],
)
async def test_only_requests_of_this_application_are_retried(
    method: str, path: str, route_prefix: str, attempts: int
) -> None:
    gateways = Gateways(lost=1)
    client = Client()
    middleware = ProxyRetry(gateways, route_prefix=route_prefix)
    await middleware({"type": "http", "method": method, "path": path, "headers": []}, client.receive, client.send)
    assert len(gateways.bodies) == attempts


def test_serve_callback_reads_the_route_prefix_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKER_ROUTE_PREFIX", "/ours")
    (middleware,) = middlewares()
    assert middleware.kwargs == {"route_prefix": "/ours"}


async def test_large_body_is_passed_on_and_not_retried() -> None:
    gateways = Gateways(lost=1)
    assert (await send(gateways, max_body_bytes=15)).got == []
    assert gateways.bodies == [PARTS]
    gateways = Gateways(lost=0)
    assert (await send(gateways, max_body_bytes=15)).got[1]["body"] == b"".join(PARTS)


async def test_body_of_exactly_the_limit_is_retried() -> None:
    assert (await send(Gateways(lost=1), max_body_bytes=21)).got[1]["body"] == b"".join(PARTS)


async def test_bodies_are_kept_by_client_address() -> None:
    """One client may keep three quarters of the budget; another one still keeps its own."""
    limits = LimitsSettings(max_body_bytes=30, max_bytes_in_flight=50)
    kept = {}
    for addresses in (("10.0.0.1", "10.0.0.1"), ("10.0.0.1", "10.0.0.2")):
        gateways, clients = Gateways(lost=2), [Client(), Client()]
        middleware = ProxyRetry(gateways, limits)
        scopes = [
            {"type": "http", "method": "POST", "path": "/v2/rerank", "client": (name, 1), "headers": []}
            for name in addresses
        ]
        calls = (middleware(scope, c.receive, c.send) for scope, c in zip(scopes, clients, strict=True))
        await asyncio.gather(*calls)
        kept[addresses] = sum(bool(client.got) for client in clients)
    assert list(kept.values()) == [1, 2]


async def test_bodies_are_kept_within_one_budget_and_until_the_answer_starts() -> None:
    """Beyond it a body is passed on and not retried; what an answered request kept is free again."""
    limits = LimitsSettings(max_body_bytes=30, max_bytes_in_flight=40)  # three quarters: room for one body
    gateways, first, second = Gateways(lost=2), Client(), Client()
    middleware = ProxyRetry(gateways, limits)
    scope = {"type": "http", "method": "POST", "path": "/v2/rerank", "client": ("10.0.0.1", 1), "headers": []}
    await asyncio.gather(*(middleware(scope, client.receive, client.send) for client in (first, second)))
    assert sorted(len(client.got) for client in (first, second)) == [0, 2]

    gateways.lost, third = len(gateways.bodies) + 1, Client()
    await middleware(scope, third.receive, third.send)
    assert third.got[1]["body"] == b"".join(PARTS)


async def test_request_of_a_disconnected_client_is_not_retried() -> None:
    gateways = Gateways(lost=1)
    assert (await send(gateways, disconnects=True)).got == []
    assert len(gateways.bodies) == 1


async def test_headers_that_steer_serve_do_not_reach_it() -> None:
    """The names are those of Ray's own constants: another name after an upgrade fails here."""
    names = (
        constants.SERVE_MULTIPLEXED_MODEL_ID,
        constants.SERVE_SESSION_ID,
        constants.SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER,
        constants.SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER,
        constants.SERVE_INGRESS_ROUTER_HEADER_PREFIX + "anything",
    )
    spelt = [form for name in names for form in (name, name.title(), name.replace("_", "-"), name.replace("-", "_"))]
    kept = [(b"authorization", b"Bearer k"), (b"x-request-id", b"1"), (b"traceparent", b"2")]
    seen: list[list[tuple[bytes, bytes]]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["headers"])

    headers = [*kept[:1], *((form.encode(), b"x") for form in spelt), *kept[1:]]
    for path in ("/v2/rerank", "/of/another/application"):
        client = Client()
        scope = {"type": "http", "method": "POST", "path": path} | {"headers": headers}
        await ProxyRetry(app)(scope, client.receive, client.send)
    assert seen == [kept] * 3 + [headers]


async def test_other_protocols_pass_through_the_middleware() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    client = Client()
    await ProxyRetry(app)({"type": "lifespan"}, client.receive, client.send)
    assert seen == ["lifespan"]


def test_serve_callback_returns_the_middleware() -> None:
    (middleware,) = middlewares()
    assert isinstance(middleware.cls(Gateways(0), *middleware.args, **middleware.kwargs), ProxyRetry)


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        ([b"a-1"], [b"a-1"]),
        ([b"a", b"b"], []),
        ([b""], []),
        ([b"a b=c"], []),
        ([b"caf\xe9"], []),
        (["a\u0085b".encode()], []),
        ([b"\x1b[31m"], []),
        ([b"a" * 129], []),
    ],
)
async def test_request_id_that_could_not_stand_in_a_log_does_not_reach_serve(
    ids: list[bytes], kept: list[bytes]
) -> None:
    """Serve makes one where there is none."""
    seen: list[tuple[bytes, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(scope["headers"])

    client = Client()
    scope = {"type": "http", "method": "GET", "path": "/health", "headers": [(b"x-request-id", id_) for id_ in ids]}
    await ProxyRetry(app)(scope, client.receive, client.send)
    assert seen[: len(kept)] == [(b"x-request-id", id_) for id_ in kept]
    assert kept or not seen
