"""Cohere v2, `POST /v2/rerank`. Version 1 shares its path with others: see shared.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar

from pydantic import Field

from deployments.http.dialects.base import Json, RerankBody, RerankCall, ResultRenderer, read_body, status_of
from deployments.http.dialects.documents import echo, read_documents
from deployments.http.dialects.plain import Flag
from deployments.http.dialects.shapes import COUNT, STRING, Schema, a_list, an_object, result
from reranker.errors import RerankerError
from reranker.types import RerankOutcome

DOCUMENTS_PER_SEARCH_UNIT = 100
MAX_WARNINGS = 20
META = an_object(
    {
        "api_version": an_object({"version": STRING}),
        "billed_units": an_object({"search_units": COUNT}),
        "warnings": a_list(STRING),
    }
)


class CohereBody(RerankBody):
    reads_strings: ClassVar[bool] = False

    return_documents: Flag | None = Field(None, description="false: results are without their documents.")


@dataclass(frozen=True)
class CohereCall(RerankCall):
    body: CohereBody

    def response(self, outcome: RerankOutcome) -> Json:
        renderer = ResultRenderer("relevance_score", self.body.raw_scores, self.body.verbose)
        results = [renderer.render(hit) for hit in outcome.ranking]
        if self.body.return_documents is not False:  # clients of vLLM read them here; Cohere's own ignore them
            for result in results:
                result["document"] = echo(self.body.documents[result["index"]])
        return {"id": outcome.request_id, "results": results, "meta": meta(outcome, self, version="2")}


class CohereV2:
    name = "Cohere v2"
    documents = "documents"
    answer = an_object(
        {"id": STRING, "results": a_list(result("relevance_score", document={"type": "object"})), "meta": META}
    )
    error = an_object({"message": STRING})

    def parse(self, body: Mapping[str, Any]) -> CohereCall:
        read = read_body(CohereBody, body)
        return CohereCall(read, read_documents("documents", read.documents))

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        return status_of(error), {"message": str(error)}

    def schema(self) -> Schema:
        return CohereBody.json_schema()


def meta(outcome: RerankOutcome, call: RerankCall, *, version: str) -> dict[str, Any]:
    """Cohere's accounting: a search unit is up to 100 documents. Warnings: a partial answer, ignored fields."""
    units = ceil(len(call.candidates) / DOCUMENTS_PER_SEARCH_UNIT)
    warnings = [f"{outcome.unscored} documents were not scored in time"] if outcome.unscored else []
    warnings += [f"{name[:80]}: this server has no such field: ignored" for name in call.ignored[:MAX_WARNINGS]]
    return {"api_version": {"version": version}, "billed_units": {"search_units": units}, "warnings": warnings}
