"""Public JSON contracts, one file each, and which paths speak them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.http.dialects.base import Call, Dialect
from deployments.http.dialects.cohere import CohereV2
from deployments.http.dialects.dashscope import DashScope
from deployments.http.dialects.mixedbread import Mixedbread
from deployments.http.dialects.names import check_one_of
from deployments.http.dialects.nim import Nim
from deployments.http.dialects.shared import SharedV1
from deployments.http.dialects.tei import Tei, TeiPairs
from deployments.http.dialects.vllm import VllmRerank, VllmScore
from deployments.http.dialects.voyage import Voyage
from deployments.http.dialects.weaviate import Weaviate


@dataclass(frozen=True, slots=True)
class Route:
    """The dialects of one path. The first is the default: unreadable and ambiguous bodies are answered in it."""

    dialects: tuple[Dialect, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells a dialect from the others of its path: a field that is not null, one that is there, or a boolean."""

    dialect: Dialect
    filled: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    boolean: tuple[str, ...] = ()

    def on(self, body: Mapping[str, Any]) -> bool:
        return (
            any(body.get(name) is not None for name in self.filled)
            or any(name in body for name in self.present)
            or any(isinstance(body.get(name), bool) for name in self.boolean)
        )


_COHERE, _NIM, _SHARED, _TEI, _VOYAGE = CohereV2(), Nim(), SharedV1(), Tei(), Voyage()
_MIXEDBREAD, _VLLM_RERANK, _VLLM_SCORE, _WEAVIATE = Mixedbread(), VllmRerank(), VllmScore(), Weaviate()

# The first mark that a body has decides.
MARKS = (
    Mark(_NIM, filled=("passages",)),
    Mark(_TEI, filled=("texts",)),
    Mark(_MIXEDBREAD, filled=("input",)),
    Mark(_WEAVIATE, present=("property",)),
    Mark(_VLLM_SCORE, filled=("queries", "text_1", "data_1")),
    Mark(_VOYAGE, present=("top_k",), boolean=("truncation",)),
)

_V1 = Route((_SHARED, _VOYAGE, _TEI))
_RERANK = Route((_VLLM_RERANK, _VOYAGE, _TEI))
_SCORE = Route((_VLLM_SCORE,))
_RANKING = Route((_NIM,))

ROUTES: Mapping[str, Route] = {
    "/v2/rerank": Route((_COHERE,)),
    "/v1/rerank": _V1,
    "/v1/reranks": _V1,
    "/v1/reranking": Route((_SHARED, _NIM, _MIXEDBREAD, _VOYAGE, _TEI)),
    "/v1/models/rerank": Route((_SHARED,)),
    "/api/rerank": _V1,
    "/compatible-api/v1/reranks": _V1,
    "/rerank": Route((*_RERANK.dialects, _WEAVIATE)),
    "/reranks": _RERANK,
    "/reranking": _RERANK,
    "/v1/score": _SCORE,
    "/score": _SCORE,
    "/predict": Route((TeiPairs(),)),
    "/v1/ranking": _RANKING,
    "/v1/retrieval/{model:path}/reranking": _RANKING,
    "/api/v1/services/rerank/text-rerank/text-rerank": Route((DashScope(),)),
    "/invocations": Route((_VLLM_RERANK, _NIM, _TEI, _VLLM_SCORE, _VOYAGE)),
    "/": Route((_TEI,)),
}


def choose(path: str, body: Mapping[str, Any] | None) -> Dialect:
    """The dialect of a body. body: None if it could not be read. Raises KeyError for a path not in ROUTES."""
    dialects = ROUTES[path].dialects
    if body is None or len(dialects) == 1:
        return dialects[0]
    return next((mark.dialect for mark in MARKS if mark.dialect in dialects and mark.on(body)), dialects[0])


def parse(path: str, body: Mapping[str, Any]) -> Call:
    """Read a body in the dialect that it is written in. Raises InvalidField."""
    dialects = ROUTES[path].dialects
    if len(dialects) > 1:
        check_one_of(sorted({dialect.documents for dialect in dialects}), body)
    return choose(path, body).parse(body)
