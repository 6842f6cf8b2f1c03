"""A request whose gateway dies is sent again, whole, and nothing else is."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.types import Message, Receive, Scope, Send

from deployments.proxy_retry import ProxyRetry, middlewares

PARTS = [b"a" * 10, b"b" * 10, b"c"]


class Gateways:
    """An ASGI application that answers nothing to the first `lost` calls, after it has read `reads` parts of each."""

    def __init__(self, lost: int, reads: int = 3) -> None:
        self._lost, self._reads = lost, reads
        self.bodies: list[list[bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lost = len(self.bodies) < self._lost
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
    def __init__(self, leaves: bool = False) -> None:
        self._parts = [{"type": "http.request", "body": part, "more_body": part != PARTS[-1]} for part in PARTS]
        if leaves:
            self._parts[1:] = [{"type": "http.disconnect"}] * 2
        self.got: list[Message] = []

    async def receive(self) -> Message:
        await asyncio.sleep(0)
        return self._parts.pop(0)

    async def send(self, message: Message) -> None:
        self.got.append(message)


async def ask(
    gateways: Gateways, path: str = "/v2/rerank", max_body_bytes: int = 100, leaves: bool = False
) -> Client:
    client = Client(leaves)
    scope = {"type": "http", "method": "POST", "path": path}
    await ProxyRetry(gateways, max_body_bytes)(scope, client.receive, client.send)
    return client


def total(bodies: Sequence[Sequence[bytes]]) -> list[bytes]:
    return [b"".join(body) for body in bodies]


@pytest.mark.parametrize("lost", [0, 1, 2])
@pytest.mark.parametrize("reads", [0, 1, 3])
async def test_a_lost_request_is_answered_with_its_whole_body(lost: int, reads: int) -> None:
    gateways = Gateways(lost, reads)
    client = await ask(gateways, "/prefix/v2/rerank")
    assert [message["type"] for message in client.got] == ["http.response.start", "http.response.body"]
    assert client.got[1]["body"] == b"".join(PARTS)
    assert total(gateways.bodies) == [b"".join(PARTS[:reads])] * lost + [b"".join(PARTS)]


async def test_retries_are_bounded() -> None:
    gateways = Gateways(lost=100)
    assert (await ask(gateways)).got == []
    assert len(gateways.bodies) == 3


async def test_what_may_have_effects_is_sent_once() -> None:
    gateways = Gateways(lost=1)
    assert (await ask(gateways, "/another/application")).got == []
    assert len(gateways.bodies) == 1


async def test_a_body_too_large_to_keep_arrives_and_is_not_sent_again() -> None:
    gateways = Gateways(lost=1)
    assert (await ask(gateways, max_body_bytes=15)).got == []
    assert gateways.bodies == [PARTS]
    gateways = Gateways(lost=0)
    assert (await ask(gateways, max_body_bytes=15)).got[1]["body"] == b"".join(PARTS)


async def test_a_client_who_left_is_not_asked_for() -> None:
    gateways = Gateways(lost=1)
    assert (await ask(gateways, leaves=True)).got == []
    assert len(gateways.bodies) == 1


async def test_other_protocols_pass_through() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    client = Client()
    await ProxyRetry(app)({"type": "lifespan"}, client.receive, client.send)
    assert seen == ["lifespan"]


def test_serve_gets_one_middleware() -> None:
    (middleware,) = middlewares()
    assert isinstance(middleware.cls(Gateways(0), *middleware.args, **middleware.kwargs), ProxyRetry)
