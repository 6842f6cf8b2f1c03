"""Text Embeddings Inference, `POST /rerank` with `texts`, and `POST /predict` with pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from deployments.http.dialects.base import Body, Json, ResultRenderer, read_body, status_of
from deployments.http.dialects.documents import read_documents
from deployments.http.dialects.plain import Documents, Flag, Positive, QueryText
from deployments.http.dialects.shapes import NOT_BLANK, NUMBER, STRING, Schema, a_list, an_object, any_of, result
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

_PAIR: Schema = {"type": "array", "prefixItems": [NOT_BLANK, STRING], "minItems": 2, "maxItems": 2}
_SIDES = {"enum": ["left", "right", "Left", "Right"]}
Side = Annotated[
    Literal["left", "right"],
    BeforeValidator(lambda side: side.lower() if side in _SIDES["enum"] else side),
    WithJsonSchema(_SIDES),
]


class _TeiFields(Body):
    """Those of all its endpoints."""

    reads_strings: ClassVar[bool] = False

    truncate: Flag | None = Field(
        None, description="false refuses long pairs; true and null cut them, as with --auto-truncate."
    )
    truncation_direction: Side = Field(
        "right", description="Long pairs are cut at their right, as in training: with left they are refused."
    )

    @property
    def refuses_cuts(self) -> bool:
        return self.truncate is False or self.truncation_direction == "left"


class TeiBody(_TeiFields):
    query: QueryText
    texts: Documents = Field(description="Strings, or objects {id, title, text}.")
    top_n: Positive | None = Field(None, description="How many to return, as llama.cpp has it; null means all.")
    return_text: Flag = False


class TeiPairsBody(_TeiFields):
    inputs: Annotated[list[Any], WithJsonSchema(any_of(_PAIR, a_list(_PAIR, 1)))] = Field(
        description="Pairs of a query and a text, or one pair alone."
    )


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


@dataclass(frozen=True, slots=True)
class TeiPairsCall:
    """alone: one pair was sent, not a list of them."""

    body: TeiPairsBody
    queries: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    alone: bool

    @property
    def ignored(self) -> tuple[str, ...]:
        return self.body.ignored

    def request(self) -> RerankRequest:
        return self.body.to_request(self.queries, self.candidates)

    def response(self, outcome: RerankOutcome) -> Json:
        """The classes of each pair, of which a reranker has one."""
        in_input_order = sorted(outcome.ranking, key=lambda hit: hit.index)
        scores = [hit.logit if self.body.raw_scores else hit.relevance_score for hit in in_input_order]
        answers: list[Any] = [[{"score": score, "label": "LABEL_0"}] for score in scores]
        return answers[0] if self.alone else answers


class _Tei:
    error = an_object({"error": STRING, "error_type": STRING})

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        status = status_of(error)
        if status == 400:
            status = 400 if isinstance(error, EmptyField) else 422
        return status, {"error": str(error), "error_type": _error_type(error)}


class Tei(_Tei):
    name = "TEI"
    documents = "texts"
    answer = a_list(result("score", text=STRING))

    def parse(self, body: Mapping[str, Any]) -> TeiCall:
        read = read_body(TeiBody, body)
        return TeiCall(read, read_documents("texts", read.texts))

    def schema(self) -> Schema:
        return TeiBody.json_schema()


class TeiPairs(_Tei):
    name = "TEI pairs"
    documents = "inputs"
    answer = any_of(
        a_list(an_object({"score": NUMBER, "label": STRING})),
        a_list(a_list(an_object({"score": NUMBER, "label": STRING}))),
    )

    def parse(self, body: Mapping[str, Any]) -> TeiPairsCall:
        """Two strings are one pair."""
        read = read_body(TeiPairsBody, body)
        if not read.inputs:
            raise EmptyField("inputs", "is empty: send at least one pair of a query and a text")
        alone = isinstance(read.inputs[0], str)
        pairs = [read.inputs] if alone else read.inputs
        for number, pair in enumerate(pairs):
            if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
                where = "inputs" if alone else f"inputs.{number}"
                raise InvalidField(where, "must be a pair of two strings, [query, text]: a reranker scores pairs")
        queries, texts = zip(*pairs, strict=True)
        return TeiPairsCall(read, queries, read_documents("inputs", texts), alone)

    def schema(self) -> Schema:
        return TeiPairsBody.json_schema()


def _error_type(error: RerankerError) -> str:
    if isinstance(error, InvalidRequest):
        return "Empty" if isinstance(error, EmptyField) else "Validation"
    if isinstance(error, Overloaded):
        return "Overloaded"
    return "Backend" if isinstance(error, DeadlineExceeded | NonFiniteLogit) else "Unhealthy"
