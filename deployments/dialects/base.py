"""What every dialect is: a body that becomes a RerankRequest, and two ways to answer.

A dialect knows JSON shapes and nothing else: no HTTP server, no Ray, no models. Limits that hold for every dialect
(an empty query, no documents, too many) are checked once, on the RerankRequest, by the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from reranker.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    RerankerError,
    UnknownModel,
)
from reranker.types import RerankOutcome, RerankRequest

Json = dict[str, Any] | list[Any]

_STATUS: tuple[tuple[type[RerankerError], int], ...] = (
    (BodyTooLarge, 413),
    (UnknownModel, 404),
    (InvalidRequest, 400),
    (Overloaded, 429),
    (DeadlineExceeded, 504),
)


def status_of(error: RerankerError) -> int:
    """The HTTP status of an error where the dialect has no rule of its own; 503 for faults of ours."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 503)


class Call(Protocol):
    """One validated body."""

    def request(self) -> RerankRequest: ...

    def response(self, outcome: RerankOutcome) -> Json: ...


class Dialect(Protocol):
    """One public JSON contract."""

    name: str

    def parse(self, body: Mapping[str, Any]) -> Call:
        """Raises InvalidField for the first thing wrong with the body."""
        ...

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        """Status and body of an error, in the shape clients of this dialect read."""
        ...

    def schemas(self) -> list[dict[str, Any]]:
        """JSON schemas of the bodies it reads, for /openapi.json."""
        ...
