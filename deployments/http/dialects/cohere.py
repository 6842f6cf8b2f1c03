"""Cohere v2, `POST /v2/rerank`. Version 1 shares its path with others: see shared.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from deployments.http.dialects.base import Json, RerankBody, RerankCall, ResultRenderer, read_body, status_of
from deployments.http.dialects.documents import read_documents
from reranker.errors import RerankerError
from reranker.types import RerankOutcome

DOCUMENTS_PER_SEARCH_UNIT = 100


@dataclass(frozen=True)
class CohereCall(RerankCall):
    body: RerankBody

    def response(self, outcome: RerankOutcome) -> Json:
        renderer = ResultRenderer("relevance_score", self.body.raw_scores, self.body.verbose)
        return {
            "id": outcome.request_id,
            "results": [renderer.render(hit) for hit in outcome.ranking],
            "meta": meta(outcome, len(self.candidates), version="2"),
        }


class CohereV2:
    name = "Cohere v2"

    def parse(self, body: Mapping[str, Any]) -> CohereCall:
        read = read_body(RerankBody, body)
        return CohereCall(read, read_documents("documents", read.documents))

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        return status_of(error), {"message": str(error)}

    def schemas(self) -> list[dict[str, Any]]:
        return [RerankBody.model_json_schema()]


def meta(outcome: RerankOutcome, documents: int, *, version: str) -> dict[str, Any]:
    """Cohere's accounting: a search unit is up to 100 documents. A partial answer adds a warning."""
    units = ceil(documents / DOCUMENTS_PER_SEARCH_UNIT)
    warnings = [f"{outcome.unscored} documents were not scored in time"] if outcome.unscored else []
    return {"api_version": {"version": version}, "billed_units": {"search_units": units}, "warnings": warnings}
