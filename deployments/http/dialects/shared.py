"""`POST /v1/rerank` for Cohere v1, Jina and vLLM at once, and for bodies of Voyage that bear no mark.

Their bodies cannot be told apart, so answers and errors carry the fields of all. Documents are returned unless
`return_documents` is false: Jina and vLLM return them by default, and clients of Cohere v1 ignore them. `data` is
Voyage's name for the results; its documents are strings, and come only if asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from deployments.http.dialects.base import Json, RerankCall, ResultRenderer, read_body, status_of
from deployments.http.dialects.cohere import meta
from deployments.http.dialects.documents import echo, read_documents
from deployments.http.dialects.vllm import VllmRerankBody, error_object, usage
from reranker.errors import RerankerError
from reranker.types import RerankOutcome


class SharedBody(VllmRerankBody):
    rank_fields: list[str] | None = Field(
        None, max_length=100, description="Cohere v1: fields of object documents to read."
    )


@dataclass(frozen=True)
class SharedCall(RerankCall):
    body: SharedBody

    def response(self, outcome: RerankOutcome) -> Json:
        raw = self.body.raw_scores or self.body.use_activation is False
        renderer = ResultRenderer("relevance_score", raw, self.body.verbose)
        results = [renderer.render(hit) for hit in outcome.ranking]
        data = [{"index": result["index"], "relevance_score": result["relevance_score"]} for result in results]
        if self.body.return_documents:
            for entry in data:
                entry["document"] = self.candidates[entry["index"]].passage.text
        if self.body.return_documents is not False:
            for result in results:
                result["document"] = echo(self.body.documents[result["index"]])
        return {
            "id": outcome.request_id,
            "object": "list",
            "model": outcome.model,
            "results": results,
            "data": data,
            "usage": usage(outcome),
            "meta": meta(outcome, self, version="1"),
        }


class SharedV1:
    name = "Cohere v1, Jina, vLLM"

    def parse(self, body: Mapping[str, Any]) -> SharedCall:
        read = read_body(SharedBody, body)
        return SharedCall(read, read_documents("documents", read.documents, read.rank_fields, any_fields=True))

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        status = status_of(error)
        return status, {"message": str(error), "detail": str(error), "error": error_object(error, status)}

    def schemas(self) -> list[dict[str, Any]]:
        return [SharedBody.model_json_schema()]
