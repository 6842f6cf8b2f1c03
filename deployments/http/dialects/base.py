"""Code shared by all dialects: parsing a body into a RerankRequest, and rendering answers and errors.

A dialect knows JSON shapes and nothing else: no HTTP server, no Ray, no models. Limits that hold for every dialect
(an empty query, no documents, too many) are checked once, on the RerankRequest, by the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments.http.dialects.names import add_names, with_one_name
from deployments.http.dialects.plain import Documents, Flag, Positive, Priority, QueryText
from deployments.http.dialects.shapes import Schema, with_strings
from reranker.errors import (
    BodyTooLarge,
    BodyTooSlow,
    DeadlineExceeded,
    Forbidden,
    HeadersTooLarge,
    InvalidField,
    InvalidRequest,
    Overloaded,
    RerankerError,
    TooManyValues,
    Unauthenticated,
    UnknownModel,
    UnreadEncoding,
)
from reranker.types import (
    Candidate,
    OnDeadline,
    Query,
    RerankOutcome,
    RerankRequest,
    ScoredCandidate,
    Truncation,
)

Json = dict[str, Any] | list[Any]

_STATUS: tuple[tuple[type[RerankerError], int], ...] = (
    (Unauthenticated, 401),
    (Forbidden, 403),
    (HeadersTooLarge, 431),
    (BodyTooLarge, 413),
    (TooManyValues, 413),
    (BodyTooSlow, 408),
    (UnreadEncoding, 415),
    (UnknownModel, 404),
    (InvalidRequest, 400),
    (Overloaded, 429),
    (DeadlineExceeded, 504),
)


def status_of(error: RerankerError) -> int:
    """The HTTP status of an error, unless the dialect has its own rule; 503 for faults of the service."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 503)


class Call(Protocol):
    """One validated body."""

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names of the fields that were sent and have no effect."""
        ...

    def request(self) -> RerankRequest: ...

    def response(self, outcome: RerankOutcome) -> Json: ...


class Dialect(Protocol):
    """One public JSON contract.

    documents: the field of its bodies with what is ranked. answer, error: JSON schemas of what it answers.
    """

    name: str
    documents: str
    answer: Schema
    error: Schema

    def parse(self, body: Mapping[str, Any]) -> Call:
        """Raises InvalidField for the first invalid field."""
        ...

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        """Status and body of an error, in the format that clients of this dialect expect."""
        ...

    def schema(self) -> Schema:
        """JSON schema of its request bodies, for /openapi.json."""
        ...


class Body(BaseModel):
    """Fields that every dialect accepts: our own extensions. Unknown ones have no effect, and are named in `ignored`.

    reads_strings: "2" is a number and "true" a boolean.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)
    reads_strings: ClassVar[bool] = True

    raw_scores: Flag = Field(False, description="Scores are logits instead of probabilities.")
    truncation: Flag | Truncation | None = Field(
        "model",
        description='"model" or true cuts long pairs as in training, "error" or false rejects them, "max_passage" '
        "scores long documents in windows and takes the best score.",
    )
    timeout_ms: Positive | None = Field(None, description="Max time until the answer, in milliseconds.")
    on_deadline: OnDeadline = Field(
        "error",
        description='"partial" returns what was scored by the deadline; the rest comes last, with "scored": false.',
    )
    instruction: str | None = Field(
        None, description="What to look for, for models whose prompt has a place for it; by default the model's own."
    )
    priority: Priority | None = Field(
        0, description="0 is the highest, 999 the lowest: p gets 1 / (1 + p) of its share, and is rejected sooner."
    )
    verbose: Flag = Field(False, description="Add `truncated` and `tokens` to each result.")

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(self.model_extra or ())

    @property
    def refuses_cuts(self) -> bool:
        """Whether the dialect's own fields ask for an error where a pair would be cut, or cut as is not done here."""
        return False

    @property
    def max_pair_tokens(self) -> int | None:
        """The length to which the dialect's own fields ask pairs to be cut."""
        return None

    def to_request(
        self, query: Query, candidates: tuple[Candidate, ...], top_n: int | None = None, model: str | None = None
    ) -> RerankRequest:
        """The request for a query and its candidates with the options of this body."""
        truncation = self.truncation if isinstance(self.truncation, str) else "model"
        refuses_cuts = self.refuses_cuts or self.truncation is False
        return RerankRequest(
            query,
            candidates,
            top_n,
            model,
            "error" if refuses_cuts else truncation,
            self.timeout_ms,
            priority=self.priority or 0,
            on_deadline=self.on_deadline,
            max_pair_tokens=self.max_pair_tokens,
            instruction=self.asked_instruction,
        )

    @property
    def asked_instruction(self) -> str | None:
        """The instruction, also where a dialect has a place of its own for it."""
        return self.instruction

    @classmethod
    def json_schema(cls) -> Schema:
        """What is accepted: with the strings that are read, and with every name of a field."""
        schema = cls.model_json_schema()
        schema.pop("title", None)
        fields = schema["properties"]
        if cls.reads_strings:
            fields |= {name: with_strings(field) for name, field in fields.items()}
        add_names(cls, schema)
        return schema


class RerankBody(Body):
    """The fields of all rerank dialects except TEI."""

    model: str | None = Field(None, description="Any name, unless the server sets strict_model.")
    query: QueryText
    documents: Documents = Field(description="Strings, or objects {id, title, text}.")
    top_n: Positive | None = Field(None, description="How many to return; null means all.")


AnyBody = TypeVar("AnyBody", bound=Body)


def read_body(kind: type[AnyBody], body: Mapping[str, Any]) -> AnyBody:
    """Raises InvalidField for the first invalid field: its name, what is allowed, what was sent."""
    try:
        return kind.model_validate(with_one_name(kind, body), context=kind.reads_strings)
    except ValidationError as failure:
        error = failure.errors(include_url=False)[0]
        field, *inside = error["loc"] or ("body",)
        # After the field come list indices, and names of union members, which mean nothing to a client.
        path = [str(field), *(str(part) for part in takewhile(lambda part: isinstance(part, int), inside))]
        message = error["msg"][:1].lower() + error["msg"][1:]
        if error["type"] != "missing" and isinstance(error["input"], str | int | float | bool | None):
            message += f", got {_shown(error['input'])}"
        raise InvalidField(".".join(path), message) from None


def _shown(value: object) -> str:
    """The beginning of a value, for an error message; a text may have millions of characters."""
    start = value[:80] if isinstance(value, str) else value
    return f"{start!r:.80}"


@dataclass(frozen=True)
class RerankCall:
    """The shared half of a Call: its request."""

    body: RerankBody
    candidates: tuple[Candidate, ...]

    @property
    def ignored(self) -> tuple[str, ...]:
        return self.body.ignored

    def request(self) -> RerankRequest:
        return self.body.to_request(self.body.query, self.candidates, self.body.top_n or None, self.body.model)


@dataclass(frozen=True, slots=True)
class ResultRenderer:
    """Renders the results of a ranking; a dialect adds the documents it echoes.

    score_field: "score" or "relevance_score". raw: logits instead of sigmoid(logit).
    """

    score_field: str
    raw: bool
    verbose: Flag

    def render(self, hit: ScoredCandidate) -> dict[str, Any]:
        result: dict[str, Any] = {
            "index": hit.index,
            self.score_field: hit.logit if self.raw else hit.relevance_score,
        }
        if hit.id is not None:
            result["id"] = hit.id
        if not hit.scored:
            result["scored"] = False
        if self.verbose:
            result |= {"truncated": hit.truncated, "tokens": hit.tokens}
        return result
