"""What every dialect is: a body that becomes a RerankRequest, and two ways to answer.

A dialect knows JSON shapes and nothing else: no HTTP server, no Ray, no models. Limits that hold for every dialect
(an empty query, no documents, too many) are checked once, on the RerankRequest, by the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from reranker.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InvalidField,
    InvalidRequest,
    Overloaded,
    RerankerError,
    UnknownModel,
)
from reranker.types import Candidate, OnDeadline, RerankOutcome, RerankRequest, ScoredCandidate, Truncation

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


class Body(BaseModel):
    """Fields that every dialect takes: our own extensions. What else a client sends is ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    raw_scores: bool = Field(False, description="Scores are logits instead of probabilities.")
    # A boolean is Voyage's, and means the same as its absence: truncate, and say so under `verbose`.
    truncation: bool | Truncation | None = Field(
        "model",
        description='"model" cuts long pairs as in training, "error" refuses them, "max_passage" reads long '
        "documents in windows and takes the best.",
    )
    timeout_ms: PositiveInt | None = Field(None, description="Longest wait for an answer.")
    on_deadline: OnDeadline = Field(
        "error",
        description='"partial" answers in time with what was scored by then; the rest stands last, "scored": false.',
    )
    priority: int | None = Field(
        0, ge=0, le=999, description="0 goes first: p gets 1 / (1 + p) of the share, and is refused sooner."
    )
    verbose: bool = Field(False, description="Add `truncated` and `tokens` to each result.")

    def asks(
        self, query: str, candidates: tuple[Candidate, ...], top_n: int | None = None, model: str | None = None
    ) -> RerankRequest:
        """The request that these fields make of a query and its candidates."""
        return RerankRequest(
            query,
            candidates,
            top_n,
            model,
            self.truncation if isinstance(self.truncation, str) else "model",
            self.timeout_ms,
            priority=self.priority or 0,
            on_deadline=self.on_deadline,
        )


class RerankBody(Body):
    """The fields that all but TEI share."""

    model: str | None = Field(None, description="Any name, unless the server is strict.")
    query: str
    documents: list[Any] = Field(description="Strings, or objects {id, title, text}.")
    top_n: PositiveInt | None = Field(None, description="How many to return; null means all.")


AnyBody = TypeVar("AnyBody", bound=Body)


def read_body(kind: type[AnyBody], body: Mapping[str, Any]) -> AnyBody:
    """Raises InvalidField for the first field that is wrong: which, what came, what is allowed."""
    try:
        return kind.model_validate(dict(body))
    except ValidationError as failure:
        error = failure.errors(include_url=False)[0]
        field, *inside = error["loc"] or ("body",)
        # Behind the field come positions in a list, and the members of a union, which say nothing to a client.
        path = [str(field), *(str(part) for part in takewhile(lambda part: isinstance(part, int), inside))]
        message = error["msg"][:1].lower() + error["msg"][1:]
        if error["type"] != "missing" and isinstance(error["input"], str | int | float | bool | None):
            message += f", got {error['input']!r:.80}"
        raise InvalidField(".".join(path), message) from None


@dataclass(frozen=True)
class RerankCall:
    """The half of a Call that is alike: what is asked."""

    body: RerankBody
    candidates: tuple[Candidate, ...]

    def request(self) -> RerankRequest:
        return self.body.asks(self.body.query, self.candidates, self.body.top_n, self.body.model)


@dataclass(frozen=True, slots=True)
class Results:
    """Renders the entries of a ranking; a dialect adds what it echoes.

    score_field: "score" or "relevance_score". raw: logits instead of sigmoid(logit).
    """

    score_field: str
    raw: bool
    verbose: bool

    def entry(self, hit: ScoredCandidate) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "index": hit.index,
            self.score_field: hit.logit if self.raw else hit.relevance_score,
        }
        if hit.id is not None:
            entry["id"] = hit.id
        if not hit.scored:
            entry["scored"] = False
        if self.verbose:
            entry |= {"truncated": hit.truncated, "tokens": hit.tokens}
        return entry
