"""Alibaba's DashScope, `POST /api/v1/services/rerank/text-rerank/text-rerank`. Its OpenAI form is in shared.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from deployments.http.dialects.base import Json, RerankBody, RerankCall, ResultRenderer, read_body, status_of
from deployments.http.dialects.documents import echo, read_documents
from deployments.http.dialects.plain import Documents, Flag, Text
from deployments.http.dialects.shapes import COUNT, STRING, Schema, a_list, an_object, any_of, result
from reranker.errors import InvalidField, RerankerError
from reranker.types import RerankOutcome

_CODES = {
    401: "InvalidApiKey",
    403: "AccessDenied",
    404: "ModelNotFound",
    408: "RequestTimeOut",
    429: "Throttling",
    503: "InternalError",
    504: "RequestTimeOut",
}
_PARTS = {"input": ("query", "documents"), "parameters": ("top_n", "return_documents")}
_INSIDE = {name for names in _PARTS.values() for name in names}


class DashScopeBody(RerankBody):
    """The fields of a body, of its `input` and of its `parameters`."""

    query: Text
    documents: Documents = Field(min_length=1, description="Strings, or objects {id, title, text}.")
    return_documents: Flag | None = None


@dataclass(frozen=True)
class DashScopeCall(RerankCall):
    """misplaced: fields that were sent where they have no meaning."""

    body: DashScopeBody
    misplaced: tuple[str, ...] = ()

    @property
    def ignored(self) -> tuple[str, ...]:
        return (*self.body.ignored, *self.misplaced)

    def response(self, outcome: RerankOutcome) -> Json:
        renderer = ResultRenderer("relevance_score", self.body.raw_scores, self.body.verbose)
        results = [renderer.render(hit) for hit in outcome.ranking]
        if self.body.return_documents:
            for result in results:
                result["document"] = echo(self.body.documents[result["index"]])
        return {
            "request_id": outcome.request_id,
            "output": {"results": results},
            "usage": {"total_tokens": outcome.total_tokens},
        }


class DashScope:
    name = "DashScope"
    documents = "input"
    answer = an_object(
        {
            "request_id": STRING,
            "output": an_object({"results": a_list(result("relevance_score", document={"type": "object"}))}),
            "usage": an_object({"total_tokens": COUNT}),
        }
    )
    error = an_object({"code": STRING, "message": STRING, "request_id": STRING})

    def parse(self, body: Mapping[str, Any]) -> DashScopeCall:
        flat = {name: value for name, value in body.items() if name not in _PARTS and name not in _INSIDE}
        misplaced = [name for name in body if name in _INSIDE]
        for part, names in _PARTS.items():
            fields = body.get(part)
            if fields is None and part == "parameters":
                continue
            if not isinstance(fields, Mapping):
                raise InvalidField(part, "must be an object: send input {query, documents} and parameters {top_n}")
            flat |= {name: value for name, value in fields.items() if name in names}
            misplaced += [name for name in fields if name not in names]
        read = read_body(DashScopeBody, flat)
        return DashScopeCall(read, read_documents("documents", read.documents), tuple(misplaced))

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        status = status_of(error)
        code = _CODES.get(status, "InvalidParameter")
        return status, {"code": code, "message": str(error), "request_id": ""}  # which the HTTP interface fills in

    def schema(self) -> Schema:
        """The same fields, in the places where DashScope has them."""
        flat = DashScopeBody.json_schema()
        fields = flat["properties"]
        of_input, of_parameters = ({name: fields.pop(name) for name in names} for names in _PARTS.values())
        fields["input"] = an_object(of_input)
        fields["parameters"] = any_of(an_object({}, of_parameters), {"type": "null"})
        return flat | {"required": ["input"]}
