"""Around all that answers: a request to a dialect's path is counted, logged and traced, whoever refuses it.

Knows nothing of bodies: routes and guard write what they learn into the request's record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

from fastapi import Request
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.access_log import AccessLog
from deployments.metrics import Metrics
from deployments.request_record import RequestRecord, is_request_id
from deployments.tracing import Spans
from reranker.errors import RerankerError

DialectOf = Callable[[Mapping[str, Any] | None], Any]
"""The dialect of a body, None for one that was not read."""

_RECORDED = "reranker.recorded"  # in the scope


class Recorded(NamedTuple):
    """A request to a path that has dialects."""

    record: RequestRecord
    dialect_of: DialectOf

    def refusal(self, error: RerankerError, body: Mapping[str, Any] | None) -> tuple[int, Any]:
        """Status and body of an error, as the dialect of the request's body has it."""
        dialect = self.dialect_of(body)
        self.record.dialect = dialect.name
        return refusal(dialect, error, self.record.id)


def recorded(scope: Scope) -> Recorded | None:
    """None for a page, and for a path that does not exist."""
    found: Recorded | None = scope.get(_RECORDED)
    return found


def record_of(request: Request) -> RequestRecord:
    """The record of a request to a dialect's path."""
    record: RequestRecord = request.scope[_RECORDED].record
    return record


def refusal(dialect: Any, error: RerankerError, request_id: str) -> tuple[int, Any]:
    """Where a dialect's errors name the request, they name it as the header does."""
    status, content = dialect.failure(error)
    if isinstance(content, dict) and "request_id" in content:
        content = content | {"request_id": request_id}
    return status, content


class Recorder:
    """An ASGI middleware. dialects_of: path of each route that has dialects -> their choice."""

    def __init__(
        self,
        app: ASGIApp,
        dialects_of: Mapping[str, DialectOf],
        metrics: Metrics,
        access_log: AccessLog | None,
        spans: Spans | None,
    ) -> None:
        self._app = app
        self._dialects = [(compile_path(path)[0], dialect_of) for path, dialect_of in dialects_of.items()]
        self._metrics, self._access_log, self._spans = metrics, access_log, spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        dialect_of = self._dialect_of(scope)
        if dialect_of is None:
            await self._app(scope, receive, send)
            return
        record = _new_record(scope, dialect_of(None).name)

        async def send_answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.answered(message["status"])
                message = {**message, "headers": [*message["headers"], (b"x-rerank-id", record.id.encode())]}
            await send(message)

        scope = {**scope, _RECORDED: Recorded(record, dialect_of)}
        span = nullcontext() if self._spans is None else self._spans.request(record, scope["headers"])
        with self._metrics.request(record), self._logged(record), span:
            try:
                await self._app(scope, receive, send_answer)
            except Exception:
                record.answered(500)  # as the server around this answers
                raise
            finally:
                if not record.seconds:  # the client has left
                    record.answered(record.status)

    @contextmanager
    def _logged(self, record: RequestRecord) -> Iterator[None]:
        try:
            yield
        finally:
            if self._access_log is not None:
                self._access_log.write(record)

    def _dialect_of(self, scope: Scope) -> DialectOf | None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        path = path_of(scope)
        return next((choose for pattern, choose in self._dialects if pattern.match(path)), None)


def path_of(scope: Scope) -> str:
    """The path inside this application, without its route prefix."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "").rstrip("/"))


def _new_record(scope: Scope, dialect: str) -> RequestRecord:
    """Serve's proxy names each request that comes without a name, and writes its name into every line of the logs."""
    given: bytes = dict(scope["headers"]).get(b"x-request-id", b"")
    return RequestRecord(dialect, given.decode()) if is_request_id(given) else RequestRecord(dialect)
