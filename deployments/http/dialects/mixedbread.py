"""Mixedbread, `POST /v1/reranking` with `input`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from deployments.http.dialects.base import Body, Json, ResultRenderer, read_body, status_of
from deployments.http.dialects.documents import read_documents
from deployments.http.dialects.plain import AnyDocuments, Flag, Positive, RankFields, Text
from deployments.http.dialects.shapes import STRING, Schema, a_list, an_object, result
from deployments.http.dialects.vllm import USAGE, usage
from reranker.errors import RerankerError
from reranker.types import Candidate, RerankOutcome, RerankRequest


class MixedbreadBody(Body):
    model: str | None = Field(None, description="Any name, unless the server sets strict_model.")
    query: Text
    input: AnyDocuments = Field(description="Strings, objects {id, title, text}, or objects of any strings.")
    rank_fields: RankFields = None
    top_k: Positive | None = Field(None, description="How many to return; null means all.")
    return_input: Flag = False


@dataclass(frozen=True, slots=True)
class MixedbreadCall:
    body: MixedbreadBody
    candidates: tuple[Candidate, ...]

    @property
    def ignored(self) -> tuple[str, ...]:
        return self.body.ignored

    def request(self) -> RerankRequest:
        return self.body.to_request(self.body.query, self.candidates, self.body.top_k, self.body.model)

    def response(self, outcome: RerankOutcome) -> Json:
        renderer = ResultRenderer("score", self.body.raw_scores, self.body.verbose)
        data = [renderer.render(hit) | {"object": "rank_result"} for hit in outcome.ranking]
        if self.body.return_input:
            for entry in data:
                entry["input"] = self.body.input[entry["index"]]
        return {
            "object": "list",
            "model": outcome.model,
            "data": data,
            "usage": usage(outcome),
            "top_k": self.body.top_k or len(self.candidates),
            "return_input": self.body.return_input,
        }


class Mixedbread:
    name = "Mixedbread"
    documents = "input"
    answer = an_object(
        {
            "object": {"const": "list"},
            "model": STRING,
            "data": a_list(result("score", object={"const": "rank_result"})),
            "usage": USAGE,
            "top_k": {"type": "integer"},
            "return_input": {"type": "boolean"},
        }
    )
    error = an_object({"detail": STRING})

    def parse(self, body: Mapping[str, Any]) -> MixedbreadCall:
        read = read_body(MixedbreadBody, body)
        return MixedbreadCall(read, read_documents("input", read.input, read.rank_fields, any_fields=True))

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        return status_of(error), {"detail": str(error)}

    def schema(self) -> Schema:
        return MixedbreadBody.json_schema()
