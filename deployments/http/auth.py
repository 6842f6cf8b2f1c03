"""Who may call: every request passes here before any route. Nothing is logged of what a client presents.

Whatever is not named below needs a key, a path that does not exist included. Knows keys and headers, and of the
dialects only how each says no.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.http.body import parse_object
from deployments.http.recorder import path_of, recorded, refusal
from deployments.key_file import KeyFile
from deployments.settings import AuthSettings
from reranker.errors import Forbidden, HeadersTooLarge, InvalidRequest, RerankerError, Unauthenticated, Unavailable
from reranker.keys import hash_of

log = logging.getLogger("ray.serve")

PROBES = frozenset(("/health", "/ready", "/ping", "/.well-known/live", "/.well-known/ready"))
METRICS = "/metrics"
_SCHEME = b"bearer "
_KEY_HEADERS = (b"x-api-key", b"api-key")  # the latter is Azure's; Cohere's is a bearer token
_CALLER = "reranker.caller"  # in the scope
_MAX_HEADERS = 100
_MAX_REFUSED_BYTES = 2**14  # of a body that is read only to choose the format of a refusal
_REFUSED_BODY_S = 1.0


class Caller(NamedTuple):
    """Whose fair share a request uses: a key's name, else a hash of what it presents, else its address."""

    name: str
    tokens_per_minute: int | None = None


def caller_of(request: Request) -> Caller:
    caller: Caller = request.scope[_CALLER]
    return caller


class Guard:
    """An ASGI middleware.

    keys: None where anybody may call. default: the dialect of refusals on paths that have none.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: KeyFile | None,
        settings: AuthSettings,
        max_header_bytes: int,
        default: Any,
    ) -> None:
        self._app, self._keys, self._settings, self._max_header_bytes = app, keys, settings, max_header_bytes
        self._default = default
        self._warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._admitted(scope)
        except RerankerError as error:
            await self._refuse(error, scope, receive, send)
            return
        await self._app({**scope, _CALLER: caller}, receive, send)

    async def _admitted(self, scope: Scope) -> Caller:
        """Raises HeadersTooLarge, Unauthenticated, Forbidden, and Unavailable where there are no keys."""
        headers, limit = scope["headers"], self._max_header_bytes
        if len(headers) > _MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > limit:
            raise HeadersTooLarge(limit, _MAX_HEADERS)
        if self._is_open(scope):
            return Caller(_address(scope))
        if self._keys is None:
            if not self._settings.allow_no_keys and not _on_loopback(scope):
                raise self._without_keys()
            return Caller(_unchecked_name(scope))
        accepted = await self._keys.by_hash()
        key = next(filter(None, (accepted.get(hash_of(secret)) for secret in _presented(scope))), None)
        if key is None:
            raise Unauthenticated
        if path_of(scope) == METRICS and key.role != "admin":
            raise Forbidden(key.role, "admin")
        if found := recorded(scope):
            found.record.client = key.name
        return Caller(key.name, key.tokens_per_minute)

    def _is_open(self, scope: Scope) -> bool:
        """Whether anybody may ask. HEAD has become GET before."""
        path = path_of(scope)
        if scope.get("method") != "GET":
            return False
        if path == METRICS:
            return self._settings.open_metrics
        return path in PROBES or self._settings.open_pages

    def _without_keys(self) -> Unavailable:
        problem = (
            "this endpoint has no API keys, so it answers on loopback addresses only: set auth.keys_file, "
            "or auth.allow_no_keys to answer anybody"
        )
        if not self._warned:
            log.warning("a request from another machine is refused: %s", problem)
            self._warned = True
        return Unavailable(problem)

    async def _refuse(self, error: RerankerError, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        found = recorded(scope)
        if found is None:
            status, content = refusal(self._default, error, uuid.uuid4().hex)
        else:
            status, content = found.refusal(error, await _small_body(Request(scope, receive)))
        headers = {"www-authenticate": "Bearer"} if isinstance(error, Unauthenticated) else None
        await JSONResponse(content, status, headers)(scope, receive, send)


def _presented(scope: Scope) -> Iterator[str]:
    """Every key that a request presents, in each header where clients of some API put it."""
    for name, value in scope["headers"]:
        if name == b"authorization" and value[: len(_SCHEME)].lower() == _SCHEME:
            yield value[len(_SCHEME) :].strip().decode("latin-1")
        elif name in _KEY_HEADERS:
            yield value.strip().decode("latin-1")


def _unchecked_name(scope: Scope) -> str:
    headers = dict(scope["headers"])
    for name in (b"authorization", *_KEY_HEADERS):
        if headers.get(name):
            return hashlib.sha256(headers[name]).hexdigest()
    return _address(scope)


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("",))[0])


def _on_loopback(scope: Scope) -> bool:
    """Whether the address that a client has connected to is one of this machine alone, or none: a Unix socket."""
    try:
        address = ipaddress.ip_address((scope.get("server") or ("",))[0])
    except ValueError:
        return True
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


async def _small_body(request: Request) -> Mapping[str, Any] | None:
    """The body of a request that is refused, for the format of its dialect; None for one that costs more to read."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > _MAX_REFUSED_BYTES or "content-encoding" in request.headers:
        return None
    try:
        async with asyncio.timeout(_REFUSED_BODY_S):
            return parse_object(await request.body())
    except (TimeoutError, ClientDisconnect, InvalidRequest):
        return None
