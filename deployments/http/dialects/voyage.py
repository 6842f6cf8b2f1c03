"""Voyage, `POST /v1/rerank` or `/rerank` with `top_k` or a boolean `truncation`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from deployments.http.dialects.base import Json, RerankBody, RerankCall, ResultRenderer, read_body, status_of
from deployments.http.dialects.documents import read_documents
from deployments.http.dialects.plain import Flag, Positive
from deployments.http.dialects.shapes import COUNT, STRING, Schema, a_list, an_object, result
from reranker.errors import RerankerError
from reranker.types import RerankOutcome


class VoyageBody(RerankBody):
    top_n: Positive | None = Field(None, validation_alias="top_k", description="How many to return; null means all.")
    return_documents: Flag | None = None


@dataclass(frozen=True)
class VoyageCall(RerankCall):
    body: VoyageBody

    def response(self, outcome: RerankOutcome) -> Json:
        renderer = ResultRenderer("relevance_score", self.body.raw_scores, self.body.verbose)
        data = [renderer.render(hit) for hit in outcome.ranking]
        if self.body.return_documents:
            for result in data:
                result["document"] = self.candidates[result["index"]].passage.text
        return {
            "object": "list",
            "data": data,
            "model": outcome.model,
            "usage": {"total_tokens": outcome.total_tokens},
        }


class Voyage:
    name = "Voyage"
    documents = "documents"
    answer = an_object(
        {
            "object": {"const": "list"},
            "data": a_list(result("relevance_score", document=STRING)),
            "model": STRING,
            "usage": an_object({"total_tokens": COUNT}),
        }
    )
    error = an_object({"detail": STRING})

    def parse(self, body: Mapping[str, Any]) -> VoyageCall:
        read = read_body(VoyageBody, body)
        return VoyageCall(read, read_documents("documents", read.documents))

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        return status_of(error), {"detail": str(error)}

    def schema(self) -> Schema:
        return VoyageBody.json_schema()
