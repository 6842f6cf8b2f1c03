"""Weaviate's reranker-transformers, `POST /rerank` with `property`: scores of documents, or of one property."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from deployments.http.dialects.base import Body, Json, ResultRenderer, read_body, status_of
from deployments.http.dialects.documents import read_documents
from deployments.http.dialects.plain import Documents, QueryText
from deployments.http.dialects.shapes import NUMBER, STRING, STRING_OR_NULL, Schema, a_list, an_object, any_of, result
from reranker.errors import InvalidField, RerankerError
from reranker.types import Candidate, RerankOutcome, RerankRequest


class WeaviateBody(Body):
    query: QueryText
    documents: Documents | None = Field(None, min_length=1, description="Strings, or objects {id, title, text}.")
    property: str | None = Field(None, description="The only text to score, if there are no documents.")


@dataclass(frozen=True, slots=True)
class WeaviateCall:
    body: WeaviateBody
    candidates: tuple[Candidate, ...]

    @property
    def ignored(self) -> tuple[str, ...]:
        return self.body.ignored

    def request(self) -> RerankRequest:
        return self.body.to_request(self.body.query, self.candidates)

    def response(self, outcome: RerankOutcome) -> Json:
        renderer = ResultRenderer("score", self.body.raw_scores, self.body.verbose)
        scores = [
            {"document": hit.text, **renderer.render(hit)}
            for hit in sorted(outcome.ranking, key=lambda hit: hit.index)
        ]
        answer: dict[str, Any] = {
            "query": self.body.query,
            "property": self.body.property,
            "scores": None,
            "score": None,
        }
        if self.body.documents is None:
            return {**answer, "score": scores[0]["score"]}
        return {**answer, "scores": scores}


class Weaviate:
    name = "Weaviate"
    documents = "documents"
    answer = an_object(
        {
            "query": STRING,
            "property": STRING_OR_NULL,
            "scores": any_of(a_list(result("score", document=STRING)), {"type": "null"}),
            "score": any_of(NUMBER, {"type": "null"}),
        }
    )
    error = an_object({"error": STRING})

    def parse(self, body: Mapping[str, Any]) -> WeaviateCall:
        read = read_body(WeaviateBody, body)
        if read.documents is None and not read.property:
            raise InvalidField("documents", "is missing: send a list of documents, or one text as property")
        texts: list[Any] = [read.property] if read.documents is None else read.documents
        return WeaviateCall(read, read_documents("documents", texts))

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        return status_of(error), {"error": str(error)}

    def schema(self) -> Schema:
        """One of `documents` and `property` has texts."""
        forms: list[Schema] = [
            an_object({"documents": {"type": "array"}}),
            an_object({"property": {"type": "string", "minLength": 1}}),
        ]
        return WeaviateBody.json_schema() | {"anyOf": forms}
