"""Public JSON contracts, one file each, and which paths speak them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.http.dialects.base import Dialect
from deployments.http.dialects.cohere import CohereV2
from deployments.http.dialects.dashscope import DashScope
from deployments.http.dialects.nim import Nim
from deployments.http.dialects.shared import SharedV1
from deployments.http.dialects.tei import Tei
from deployments.http.dialects.vllm import VllmRerank, VllmScore
from deployments.http.dialects.voyage import Voyage
from deployments.http.dialects.weaviate import Weaviate


@dataclass(frozen=True, slots=True)
class Route:
    """The dialects of one path. The first is the default: unreadable and ambiguous bodies are answered in it."""

    dialects: tuple[Dialect, ...]


_COHERE, _NIM, _SHARED, _TEI, _VOYAGE = CohereV2(), Nim(), SharedV1(), Tei(), Voyage()
_VLLM_RERANK, _VLLM_SCORE, _WEAVIATE = VllmRerank(), VllmScore(), Weaviate()

# What tells a dialect from the others of its path; the first mark that a body has decides.
_MARKS: tuple[tuple[Dialect, Callable[[Mapping[str, Any]], bool]], ...] = (
    (_NIM, lambda body: "passages" in body),
    (_TEI, lambda body: "texts" in body),
    (_WEAVIATE, lambda body: "property" in body),
    (_VLLM_SCORE, lambda body: any(name in body for name in ("queries", "text_1", "data_1"))),
    (_VOYAGE, lambda body: "top_k" in body or isinstance(body.get("truncation"), bool)),
)

_V1 = Route((_SHARED, _VOYAGE, _TEI))
_RERANK = Route((_VLLM_RERANK, _VOYAGE, _TEI))
_SCORE = Route((_VLLM_SCORE,))
_RANKING = Route((_NIM,))

ROUTES: Mapping[str, Route] = {
    "/v2/rerank": Route((_COHERE,)),
    "/v1/rerank": _V1,
    "/v1/reranks": _V1,
    "/v1/reranking": Route((_SHARED, _NIM, _VOYAGE, _TEI)),
    "/compatible-api/v1/reranks": _V1,
    "/rerank": Route((*_RERANK.dialects, _WEAVIATE)),
    "/reranks": _RERANK,
    "/reranking": _RERANK,
    "/v1/score": _SCORE,
    "/score": _SCORE,
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
    return next((dialect for dialect, marked in _MARKS if dialect in dialects and marked(body)), dialects[0])
