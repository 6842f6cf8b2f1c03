"""Retries a request when its gateway dies: Serve's proxy itself never does.

Serve loads this into the proxy of each node if the environment of `ray start` or `serve run` says so:

    RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=deployments.proxy_retry:middlewares

Knows ASGI and the paths of this application. Scoring has no side effects, so its requests are safe to repeat. Those
of other applications behind the same proxy may not be: they pass through. Headers by which a client could steer Serve
are taken out of this application's requests before Serve reads them, and names of requests that would spoil its logs
(one that is not UTF-8 would end in a 500). If the `route_prefix` of this application
is not `/`, set RERANKER_ROUTE_PREFIX to it in the same environment.
"""

from __future__ import annotations

import asyncio
import logging
import os

from starlette.middleware import Middleware
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.http.dialects import ROUTES
from deployments.http.pages import MODEL_PAGES, PAGES
from deployments.http.reading import PATH as READ_PATH
from deployments.request_record import is_request_id
from reranker.errors import Overloaded
from reranker.scheduling.bytes_in_flight import BytesInFlight, HeldBytes
from reranker.scheduling.retry_budget import RetryBudget
from reranker.settings import LimitsSettings

log = logging.getLogger("ray.serve")

_MAX_RETRIES = 2
_RETRY_PAUSE_S = 0.2

# What Serve does for a header: prefer replicas with a model or session of this name, drop its time limit, compute on
# for a client that left, trust its own router. Names are compared without case, "-" being "_".
_STEERING = (b"serve_multiplexed_model_id", b"x_request_timeout_seconds", b"x_request_disconnect_disabled")
_STEERING_PREFIX = b"x_serve_router_"


def middlewares() -> list[Middleware]:
    """Serve calls this once per proxy."""
    return [Middleware(ProxyRetry, route_prefix=os.environ.get("RERANKER_ROUTE_PREFIX", "/"))]


class ProxyRetry:
    """An ASGI middleware. When a replica is lost, Serve's own application returns without having sent anything.

    limits: bodies beyond them are passed on but not kept for a retry, and their clients get Serve's 500.
    route_prefix: of this application.
    """

    def __init__(self, app: ASGIApp, limits: LimitsSettings | None = None, route_prefix: str = "/") -> None:
        self._app = app
        self._limits = limits or LimitsSettings()
        self._in_flight = BytesInFlight(self._limits.max_bytes_in_flight)
        prefix = route_prefix.rstrip("/")
        paths = {"POST": [*ROUTES, READ_PATH], "GET": [*PAGES, MODEL_PAGES], "HEAD": [*PAGES, MODEL_PAGES]}
        self._repeatable = {
            method: [compile_path(prefix + path)[0] for path in of_method] for method, of_method in paths.items()
        }
        self._budget = RetryBudget()
        session = os.environ.get("RAY_SERVE_SESSION_ID_HEADER_KEY", "x-session-id")
        self._steering = frozenset((*_STEERING, _normal(session.encode())))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._is_repeatable(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = [line for line in scope["headers"] if not self._steers(line[0])]
        scope = {**scope, "headers": _with_one_request_id(headers)}
        self._budget.earn()
        address = (scope.get("client") or ("",))[0]
        with self._in_flight.hold(address) as held:
            await self._attempt(scope, _ReplayableBody(receive, self._limits.max_body_bytes, held), send)

    def _is_repeatable(self, method: str, path: str) -> bool:
        return any(pattern.match(path) for pattern in self._repeatable.get(method, ()))

    def _steers(self, name: bytes) -> bool:
        return (normal := _normal(name)) in self._steering or normal.startswith(_STEERING_PREFIX)

    async def _attempt(self, scope: Scope, body: _ReplayableBody, send: Send) -> None:
        response_started = False

        async def send_response(message: Message) -> None:
            nonlocal response_started
            response_started = True
            body.forget()  # there is no retry any more
            await send(message)

        for attempt in range(_MAX_RETRIES + 1):
            await self._app(dict(scope), body.reader(), send_response)
            if response_started or not body.is_replayable or attempt == _MAX_RETRIES or not self._budget.spend():
                return
            log.warning("attempt %d at a request ended without a response: retrying", attempt + 1)
            await asyncio.sleep(_RETRY_PAUSE_S)


def _with_one_request_id(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Serve writes the id into every line of its logs as it came, and makes one where there is none."""
    ids = [value for name, value in headers if name == b"x-request-id"]
    if not ids or (len(ids) == 1 and is_request_id(ids[0])):
        return headers
    return [line for line in headers if line[0] != b"x-request-id"]


def _normal(name: bytes) -> bytes:
    return name.lower().replace(b"-", b"_")


class _ReplayableBody:
    """A request's body: the first reader gets it as it arrives, later readers get it again from the start."""

    def __init__(self, receive: Receive, max_bytes: int, held: HeldBytes) -> None:
        """held: takes the bytes that are kept."""
        self._receive = receive
        self._max_bytes = max_bytes
        self._held = held
        self._messages: list[Message] = []
        self.is_replayable = True  # false once the client has disconnected or the body is too large to keep

    def forget(self) -> None:
        """Keep no message for a later reader."""
        self.is_replayable = False
        self._messages.clear()
        self._held.release()

    def reader(self) -> Receive:
        """An ASGI `receive`. Use one reader at a time."""
        position = 0

        async def receive() -> Message:
            nonlocal position
            if position == len(self._messages) or not self.is_replayable:
                message = await self._receive()
                self._keep(message)
            else:
                message = self._messages[position]
            position += 1
            return message

        return receive

    def _keep(self, message: Message) -> None:
        if not self.is_replayable:
            return
        size = len(message.get("body", b""))
        try:
            if message["type"] != "http.request" or self._held.count + size > self._max_bytes:
                self.forget()
                return
            self._held.add(size)
        except Overloaded:
            self.forget()
            return
        self._messages.append(message)
