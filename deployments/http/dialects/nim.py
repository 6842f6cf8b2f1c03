"""NVIDIA NIM, `POST /v1/ranking`: a query, passages, raw logits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import AliasChoices, Field

from deployments.http.dialects.base import Body, Json, ResultRenderer, read_body, status_of
from deployments.http.dialects.documents import read_documents
from deployments.http.dialects.plain import Documents, Positive, Text
from deployments.http.dialects.shapes import STRING, Schema, a_list, an_object, result
from deployments.http.dialects.vllm import USAGE, usage
from reranker.errors import InvalidRequest, Overloaded, RerankerError
from reranker.types import Candidate, RerankOutcome, RerankRequest


class NimBody(Body):
    model: str | None = Field(None, description="Any name, unless the server sets strict_model.")
    query: Text
    passages: Documents = Field(min_length=1, description="Objects {text}, also with id and title, or strings.")
    truncate: Literal["NONE", "END"] | None = Field(
        None, description='"NONE" refuses long pairs; "END" cuts them, and so does no value.'
    )
    top_n: Positive | None = Field(
        None, validation_alias=AliasChoices("top_n", "top_k"), description="How many to return; null means all."
    )

    @property
    def refuses_cuts(self) -> bool:
        return self.truncate == "NONE"


@dataclass(frozen=True, slots=True)
class NimCall:
    body: NimBody
    candidates: tuple[Candidate, ...]

    @property
    def ignored(self) -> tuple[str, ...]:
        return self.body.ignored

    def request(self) -> RerankRequest:
        return self.body.to_request(self.body.query, self.candidates, self.body.top_n, self.body.model)

    def response(self, outcome: RerankOutcome) -> Json:
        renderer = ResultRenderer("logit", raw=True, verbose=self.body.verbose)
        return {"rankings": [renderer.render(hit) for hit in outcome.ranking], "usage": usage(outcome)}


class Nim:
    name = "NVIDIA NIM"
    documents = "passages"
    answer = an_object({"rankings": a_list(result("logit")), "usage": USAGE})
    error = an_object({"object": {"const": "error"}, "message": STRING, "detail": {"type": "object"}, "type": STRING})

    def parse(self, body: Mapping[str, Any]) -> NimCall:
        read = read_body(NimBody, body)
        return NimCall(read, read_documents("passages", read.passages))

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        status = status_of(error)
        if status == 400:
            status = 422
        return status, {"object": "error", "message": str(error), "detail": {}, "type": _type_of(error)}

    def schema(self) -> Schema:
        return NimBody.json_schema()


def _type_of(error: RerankerError) -> str:
    if isinstance(error, InvalidRequest):
        return "invalid_request_error"
    return "rate_limit_error" if isinstance(error, Overloaded) else "internal_server_error"
