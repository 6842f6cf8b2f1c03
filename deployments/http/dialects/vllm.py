"""vLLM: `POST /rerank`, and `POST /score` or `/v1/score`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, WithJsonSchema

from deployments.http.dialects.base import Body, Json, RerankBody, RerankCall, ResultRenderer, read_body, status_of
from deployments.http.dialects.documents import echo, read_documents, read_query
from deployments.http.dialects.plain import CountOrAll, Flag, MaxTokens, OneOrMore, Text, one_or_more
from deployments.http.dialects.shapes import (
    COUNT,
    QUERY,
    STRING,
    STRING_OR_NULL,
    Schema,
    a_list,
    an_object,
    any_of,
    result,
)
from reranker.errors import EmptyField, InvalidField, RerankerError
from reranker.types import Candidate, Query, RerankOutcome, RerankRequest

_ERROR_TYPES = {
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
    504: "TimeoutError",
}


USAGE = an_object({"prompt_tokens": COUNT, "total_tokens": COUNT, "completion_tokens": COUNT})
ERROR_OBJECT = an_object({"message": STRING, "type": STRING, "param": STRING_OR_NULL, "code": {"type": "integer"}})


_QUERIES = any_of(QUERY, a_list(QUERY, 1))


def _with_text_instruction(arguments: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(arguments.get("instruction", ""), str):
        raise ValueError("instruction must be a string")
    return arguments


class _VllmFields(Body):
    """Those of both endpoints."""

    model: str | None = Field(None, description="Any name, unless the server sets strict_model.")
    use_activation: Flag | None = Field(
        None, validation_alias=AliasChoices("use_activation", "activation"), description="false: scores are logits."
    )
    truncate_prompt_tokens: MaxTokens | None = Field(
        None, description="Cut pairs to this many tokens, at most those that the model reads; -1 means all of these."
    )
    truncation_side: Literal["left", "right"] | None = Field(
        None, description="Long pairs are cut at their end, as in training: with left they are refused."
    )

    chat_template_kwargs: Annotated[dict[str, Any], AfterValidator(_with_text_instruction)] | None = Field(
        None, description="Of these only `instruction` is read."
    )

    @property
    def asked_instruction(self) -> str | None:
        return self.instruction or (self.chat_template_kwargs or {}).get("instruction")

    @property
    def wants_logits(self) -> bool:
        return self.raw_scores or self.use_activation is False

    @property
    def refuses_cuts(self) -> bool:
        return self.truncation_side == "left"

    @property
    def max_pair_tokens(self) -> int | None:
        tokens = self.truncate_prompt_tokens
        return None if tokens == -1 or self.truncation == "max_passage" else tokens

    @property
    def ignored(self) -> tuple[str, ...]:
        unused = ["truncate_prompt_tokens"] if self.truncate_prompt_tokens is not None else []
        arguments = [f"chat_template_kwargs.{key}" for key in self.chat_template_kwargs or {} if key != "instruction"]
        return (*super().ignored, *(unused if self.truncation == "max_passage" else []), *arguments)


class VllmRerankBody(RerankBody, _VllmFields):
    query: Text
    documents: OneOrMore = Field(description="One document or several: strings, or objects {id, title, text}.")
    top_n: CountOrAll | None = Field(None, description="How many to return; null and 0 mean all.")
    return_documents: Flag | None = None


class VllmScoreBody(_VllmFields):
    queries: Annotated[list[Any], BeforeValidator(one_or_more), WithJsonSchema(_QUERIES)] = Field(
        validation_alias=AliasChoices("queries", "text_1", "data_1"),
        description="One query, or one for each document.",
    )
    documents: OneOrMore = Field(
        validation_alias=AliasChoices("documents", "items", "text_2", "data_2"),
        description="One document or several: strings, or objects {id, title, text}.",
    )


@dataclass(frozen=True)
class VllmRerankCall(RerankCall):
    body: VllmRerankBody

    def response(self, outcome: RerankOutcome) -> Json:
        renderer = ResultRenderer("relevance_score", self.body.wants_logits, self.body.verbose)
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
    query: Query
    candidates: tuple[Candidate, ...]

    @property
    def ignored(self) -> tuple[str, ...]:
        return self.body.ignored

    def request(self) -> RerankRequest:
        return self.body.to_request(self.query, self.candidates, model=self.body.model)

    def response(self, outcome: RerankOutcome) -> Json:
        renderer = ResultRenderer("score", self.body.wants_logits, self.body.verbose)
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
    documents = "documents"
    error = an_object({"error": ERROR_OBJECT})

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        status = status_of(error)
        return status, {"error": error_object(error, status)}


class VllmRerank(_Vllm):
    name = "vLLM rerank"
    answer = an_object(
        {
            "id": STRING,
            "model": STRING,
            "usage": USAGE,
            "results": a_list(result("relevance_score", document={"type": "object"})),
        }
    )

    def parse(self, body: Mapping[str, Any]) -> VllmRerankCall:
        read = read_body(VllmRerankBody, body)
        return VllmRerankCall(read, read_documents("documents", read.documents))

    def schema(self) -> Schema:
        return VllmRerankBody.json_schema()


class VllmScore(_Vllm):
    name = "vLLM score"
    answer = an_object(
        {
            "id": STRING,
            "object": {"const": "list"},
            "created": COUNT,
            "model": STRING,
            "data": a_list(result("score", object={"const": "score"})),
            "usage": USAGE,
        }
    )

    def parse(self, body: Mapping[str, Any]) -> VllmScoreCall:
        """One query for all documents, or one for each."""
        read = read_body(VllmScoreBody, body)
        queries = [read_query(query, f"queries.{number}") for number, query in enumerate(read.queries)]
        candidates = read_documents("documents", read.documents)
        if not queries:
            raise EmptyField("queries", "is empty: send one query, or one for each document")
        if len(queries) not in (1, len(candidates)):
            problem = f"got {len(queries)} for {len(candidates)} documents: send one query, or one for each document"
            raise InvalidField("queries", problem)
        return VllmScoreCall(read, queries[0] if len(queries) == 1 else tuple(queries), candidates)

    def schema(self) -> Schema:
        return VllmScoreBody.json_schema()


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
