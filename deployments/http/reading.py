"""`POST /v1/read`: how far the model reads each document, and what it does not read. An endpoint of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from deployments.http.dialects.base import Body, Json, read_body, status_of
from deployments.http.dialects.documents import read_documents
from reranker.errors import RerankerError
from reranker.reading import Reading
from reranker.types import Candidate, RerankRequest

PATH = "/v1/read"


class ReadBody(Body):
    model: str | None = Field(None, description="Any name, unless the server sets strict_model.")
    query: str
    documents: list[Any] = Field(description="Strings, or objects {id, title, text}.")


@dataclass(frozen=True, slots=True)
class ReadCall:
    body: ReadBody
    candidates: tuple[Candidate, ...]

    @property
    def ignored(self) -> tuple[str, ...]:
        return self.body.ignored

    def request(self) -> RerankRequest:
        return self.body.to_request(self.body.query, self.candidates, model=self.body.model)

    def response(self, reading: Reading) -> Json:
        """Spans are [start, end) in characters, which are code points: in JavaScript, items of `[...text]`."""
        return {
            "query": {"read": reading.query},
            "documents": [
                {
                    "index": index,
                    "title_read": passage.title,
                    "text_read": passage.text,
                    "truncated": passage.truncated,
                    "tokens": passage.tokens,
                }
                for index, passage in enumerate(reading.passages)
            ],
        }


class ReadDialect:
    name = "Read"

    def parse(self, body: Mapping[str, Any]) -> ReadCall:
        read = read_body(ReadBody, body)
        return ReadCall(read, read_documents("documents", read.documents))

    def failure(self, error: RerankerError) -> tuple[int, Json]:
        return status_of(error), {"message": str(error)}
