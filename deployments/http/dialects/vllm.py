"""vLLM: `POST /rerank`, and `POST /score` or `/v1/score`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import AliasChoices, Field

from deployments.http.dialects.base import Body, Json, RerankBody, RerankCall, ResultRenderer, read_body, status_of
from deployments.http.dialects.documents import echo, read_documents
from deployments.http.dialects.plain import CountOrAll, Flag, OneOrMore, Text
from reranker.errors import InvalidField, RerankerError
from reranker.types import Candidate, RerankOutcome, RerankRequest

_ERROR_TYPES = {404: "NotFoundError", 429: "RateLimitError", 503: "ServiceUnavailableError", 504: "TimeoutError"}


_SIDE = Field(None, description="Long pairs are cut at their end, as in training: nothing else is supported.")


class VllmRerankBody(RerankBody):
    query: Text
    documents: OneOrMore = Field(description="One document or several: strings, or objects {id, title, text}.")
    top_n: CountOrAll | None = Field(None, description="How many to return; null and 0 mean all.")
    return_documents: Flag | None = None
    use_activation: Flag | None = Field(None, description="false: scores are logits.")
    truncation_side: Literal["right"] | None = _SIDE


class VllmScoreBody(Body):
    model: str | None = Field(None, description="Any name, unless the server sets strict_model.")
    queries: OneOrMore = Field(
        validation_alias=AliasChoices("queries", "text_1", "data_1"), description="One query, or a list of one."
    )
    documents: OneOrMore = Field(
        validation_alias=AliasChoices("documents", "items", "text_2", "data_2"),
        description="One document or several: strings, or objects {id, title, text}.",
    )
    use_activation: Flag | None = Field(None, description="false: scores are logits.")
    truncation_side: Literal["right"] | None = _SIDE


@dataclass(frozen=True)
class VllmRerankCall(RerankCall):
    body: VllmRerankBody

    def response(self, outcome: RerankOutcome) -> Json:
        raw = self.body.raw_scores or self.body.use_activation is False
        renderer = ResultRenderer("relevance_score", raw, self.body.verbose)
        results = [renderer.render(hit) for hit in outcome.ranking]
        if self.body.return_documents is not False:
            for result in results:
                result["document"] = echo(self.body.documents[result["index"]])
        return {
            "id": f"rerank-{outcome.request_id}",
            "model": outcome.model,
            "usage": usage(outcome),
            "results": results,
        }


@dataclass(frozen=True, slots=True)
class VllmScoreCall:
    body: VllmScoreBody
    query: str
    candidates: tuple[Candidate, ...]

    @property
    def ignored(self) -> tuple[str, ...]:
        return self.body.ignored

    def request(self) -> RerankRequest:
        return self.body.to_request(self.query, self.candidates, model=self.body.model)

    def response(self, outcome: RerankOutcome) -> Json:
        raw = self.body.raw_scores or self.body.use_activation is False
        renderer = ResultRenderer("score", raw, self.body.verbose)
        in_input_order = sorted(outcome.ranking, key=lambda hit: hit.index)
        return {
            "id": f"score-{outcome.request_id}",
            "object": "list",
            "created": int(time.time()),
            "model": outcome.model,
            "data": [renderer.render(hit) | {"object": "score"} for hit in in_input_order],
            "usage": usage(outcome),
        }


class _Vllm:
    def failure(self, error: RerankerError) -> tuple[int, Json]:
        status = status_of(error)
        return status, {"error": error_object(error, status)}


class VllmRerank(_Vllm):
    name = "vLLM rerank"

    def parse(self, body: Mapping[str, Any]) -> VllmRerankCall:
        read = read_body(VllmRerankBody, body)
        return VllmRerankCall(read, read_documents("documents", read.documents))

    def schemas(self) -> list[dict[str, Any]]:
        return [VllmRerankBody.model_json_schema()]


class VllmScore(_Vllm):
    name = "vLLM score"

    def parse(self, body: Mapping[str, Any]) -> VllmScoreCall:
        read = read_body(VllmScoreBody, body)
        if len(read.queries) != 1:
            raise InvalidField("queries", f"got {len(read.queries)} queries: send one request for each query")
        query = read_documents("queries", read.queries)[0].passage.text
        return VllmScoreCall(read, query, read_documents("documents", read.documents))

    def schemas(self) -> list[dict[str, Any]]:
        return [VllmScoreBody.model_json_schema(by_alias=False)]


def usage(outcome: RerankOutcome) -> dict[str, int]:
    """In the format of OpenAI: a reranker reads tokens and writes none."""
    return {"prompt_tokens": outcome.total_tokens, "total_tokens": outcome.total_tokens, "completion_tokens": 0}


def error_object(error: RerankerError, status: int) -> dict[str, Any]:
    """An error in the format of vLLM and OpenAI."""
    return {
        "message": str(error),
        "type": _ERROR_TYPES.get(status, "BadRequestError"),
        "param": error.field if isinstance(error, InvalidField) else None,
        "code": status,
    }
