"""Alibaba's DashScope, `POST /api/v1/services/rerank/text-rerank/text-rerank`. Its OpenAI form is in shared.py."""

import uuid
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
_PARTS = ("input", "parameters")


class DashScopeBody(RerankBody):
    """All fields of a body, of its `input` and of its `parameters`."""

    query: Text
    documents: Documents = Field(min_length=1, description="Strings, or objects {id, title, text}.")
    return_documents: Flag | None = None


@dataclass(frozen=True)
class DashScopeCall(RerankCall):
    body: DashScopeBody

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
        flat = {name: value for name, value in body.items() if name not in _PARTS}
        for part in _PARTS:
            fields = body.get(part)
            if isinstance(fields, Mapping):
                flat |= fields
            elif fields is not None or part == "input":
                raise InvalidField(part, "must be an object: send input {query, documents} and parameters {top_n}")
        read = read_body(DashScopeBody, flat)
        return DashScopeCall(read, read_documents("documents", read.documents))

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        status = status_of(error)
        code = _CODES.get(status, "InvalidParameter")
        return status, {"code": code, "message": str(error), "request_id": uuid.uuid4().hex}

    def schema(self) -> Schema:
        """The same fields, in the places where DashScope has them."""
        flat = DashScopeBody.json_schema()
        fields = flat["properties"]
        of_input = {name: fields.pop(name) for name in ("query", "documents")}
        of_parameters = {name: fields.pop(name) for name in ("top_n", "return_documents")}
        fields["input"] = an_object(of_input)
        fields["parameters"] = any_of(an_object({}, of_parameters), {"type": "null"})
        return flat | {"required": ["input"]}
