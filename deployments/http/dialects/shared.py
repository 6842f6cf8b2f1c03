"""`POST /v1/rerank` for Cohere v1, Jina and vLLM at once, and for bodies of Voyage that bear no mark.

Their bodies cannot be told apart, so answers and errors carry the fields of all. Documents are returned unless
`return_documents` is false: Jina and vLLM return them by default, and clients of Cohere v1 ignore them. `data` is
Voyage's name for the results; its documents are strings, and come only if asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from deployments.http.dialects import shapes
from deployments.http.dialects.base import Json, RerankCall, ResultRenderer, read_body, status_of
from deployments.http.dialects.cohere import META, meta
from deployments.http.dialects.documents import echo, read_documents
from deployments.http.dialects.plain import RankFields, one_or_more
from deployments.http.dialects.shapes import STRING, Schema, a_list, an_object, result
from deployments.http.dialects.vllm import ERROR_OBJECT, USAGE, VllmRerankBody, error_object, usage
from reranker.errors import RerankerError
from reranker.types import RerankOutcome


class SharedBody(VllmRerankBody):
    documents: Annotated[
        list[Any], BeforeValidator(one_or_more), WithJsonSchema(shapes.ONE_OR_MORE_OF_ANY_FIELDS)
    ] = Field(description="One document or several: strings, objects {id, title, text}, or objects of any strings.")
    rank_fields: RankFields = None


@dataclass(frozen=True)
class SharedCall(RerankCall):
    body: SharedBody

    def response(self, outcome: RerankOutcome) -> Json:
        renderer = ResultRenderer("relevance_score", self.body.wants_logits, self.body.verbose)
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
    documents = "documents"
    answer = an_object(
        {
            "id": STRING,
            "object": {"const": "list"},
            "model": STRING,
            "results": a_list(result("relevance_score", document={"type": "object"})),
            "data": a_list(result("relevance_score", document=STRING)),
            "usage": USAGE,
            "meta": META,
        }
    )
    error = an_object({"message": STRING, "detail": STRING, "error": ERROR_OBJECT})

    def parse(self, body: Mapping[str, Any]) -> SharedCall:
        read = read_body(SharedBody, body)
        return SharedCall(read, read_documents("documents", read.documents, read.rank_fields, any_fields=True))

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        status = status_of(error)
        return status, {"message": str(error), "detail": str(error), "error": error_object(error, status)}

    def schema(self) -> Schema:
        return SharedBody.json_schema()
