"""Sends a request to another gateway when the one that had it dies: Serve's proxy itself never does.

Serve loads this into each node's proxy, where the environment of `ray start` or `serve run` asks for it:

    RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=deployments.proxy_retry:middlewares

Knows nothing of Ray or rerankers but their paths. Scoring has no side effects, so asking twice is safe.
"""

from __future__ import annotations

import asyncio
import logging

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.http.dialects import ROUTES
from reranker.scheduling.retry_budget import RetryBudget
from reranker.settings import LimitsSettings

log = logging.getLogger("ray.serve")

_MAX_RETRIES = 2
_RETRY_PAUSE_S = 0.2


def middlewares() -> list[Middleware]:
    """What Serve calls, once for each proxy."""
    return [Middleware(ProxyRetry)]


class ProxyRetry:
    """An ASGI middleware. Serve's own application, when a replica is lost under it, returns and has sent nothing.

    max_body_bytes: of a request that is kept to be sent again; a larger one gets the 500 that it would get without.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int = LimitsSettings().max_body_bytes) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._budget = RetryBudget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_repeatable(scope):
            await self._app(scope, receive, send)
            return
        self._budget.earn()
        body = _KeptBody(receive, self._max_body_bytes)
        answered = False

        async def watched(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        for attempt in range(_MAX_RETRIES + 1):
            await self._app(dict(scope), body.reader(), watched)
            if answered or not body.is_whole or attempt == _MAX_RETRIES or not self._budget.spend():
                return
            log.warning("attempt %d at a request ended without an answer: sending it again", attempt + 1)
            await asyncio.sleep(_RETRY_PAUSE_S)


class _KeptBody:
    """A request's body as it comes, and again from its start for every reader after the first."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive = receive
        self._left_bytes = max_bytes
        self._kept: list[Message] = []
        self.is_whole = True  # the client is there, and all it has sent is kept

    def reader(self) -> Receive:
        """An ASGI `receive`. One is read at a time."""
        place = 0

        async def receive() -> Message:
            nonlocal place
            if place == len(self._kept) or not self.is_whole:
                message = await self._receive()
                self._keep(message)
            else:
                message = self._kept[place]
            place += 1
            return message

        return receive

    def _keep(self, message: Message) -> None:
        self._left_bytes -= len(message.get("body", b""))
        if message["type"] != "http.request" or self._left_bytes < 0:
            self.is_whole = False
            self._kept.clear()
        elif self.is_whole:
            self._kept.append(message)


def _is_repeatable(scope: Scope) -> bool:
    return scope["method"] == "GET" or any(scope["path"].endswith(path) for path in ROUTES)
