"""Text Embeddings Inference, `POST /rerank` with `texts`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from deployments.http.dialects.base import Body, Json, ResultRenderer, read_body, status_of
from deployments.http.dialects.documents import read_documents
from deployments.http.dialects.plain import Flag, Positive
from reranker.errors import (
    DeadlineExceeded,
    EmptyField,
    InvalidField,
    InvalidRequest,
    NonFiniteLogit,
    Overloaded,
    RerankerError,
)
from reranker.types import Candidate, RerankOutcome, RerankRequest


class TeiBody(Body):
    reads_strings: ClassVar[bool] = False

    query: str
    texts: list[Any] = Field(description="Strings, or objects {id, title, text}.")
    top_n: Positive | None = Field(None, description="How many to return, as llama.cpp has it; null means all.")
    return_text: Flag = False
    truncate: Flag | None = Field(False, description="Long texts are always truncated, as with --auto-truncate.")
    truncation_direction: str = "right"


@dataclass(frozen=True, slots=True)
class TeiCall:
    body: TeiBody
    candidates: tuple[Candidate, ...]

    @property
    def ignored(self) -> tuple[str, ...]:
        return self.body.ignored

    def request(self) -> RerankRequest:
        return self.body.to_request(self.body.query, self.candidates, self.body.top_n)

    def response(self, outcome: RerankOutcome) -> Json:
        renderer = ResultRenderer("score", self.body.raw_scores, self.body.verbose)
        results: list[Any] = [renderer.render(hit) for hit in outcome.ranking]
        if self.body.return_text:
            for result in results:
                result["text"] = self.candidates[result["index"]].passage.text
        return results


class Tei:
    name = "TEI"

    def parse(self, body: Mapping[str, Any]) -> TeiCall:
        read = read_body(TeiBody, body)
        if read.truncation_direction.lower() != "right":
            raise InvalidField(
                "truncation_direction",
                f"only right is supported, as in training, got {read.truncation_direction[:80]!r}",
            )
        return TeiCall(read, read_documents("texts", read.texts))

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        status = status_of(error)
        if isinstance(error, InvalidRequest) and status not in (408, 413, 415):
            status = 400 if isinstance(error, EmptyField) else 422
        return status, {"error": str(error), "error_type": _error_type(error)}

    def schemas(self) -> list[dict[str, Any]]:
        return [TeiBody.model_json_schema()]


def _error_type(error: RerankerError) -> str:
    if isinstance(error, InvalidRequest):
        return "Empty" if isinstance(error, EmptyField) else "Validation"
    if isinstance(error, Overloaded):
        return "Overloaded"
    return "Backend" if isinstance(error, DeadlineExceeded | NonFiniteLogit) else "Unhealthy"
