"""Public JSON contracts, one file each, and which paths speak them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.http.dialects.base import Dialect
from deployments.http.dialects.cohere import CohereV2
from deployments.http.dialects.shared import SharedV1
from deployments.http.dialects.tei import Tei
from deployments.http.dialects.vllm import VllmRerank, VllmScore
from deployments.http.dialects.voyage import Voyage


@dataclass(frozen=True, slots=True)
class Route:
    """The dialects of one path. The first is the default: unreadable and ambiguous bodies are answered in it."""

    dialects: tuple[Dialect, ...]


_SHARED, _VOYAGE, _TEI, _VLLM_RERANK = SharedV1(), Voyage(), Tei(), VllmRerank()
_SCORE = Route((VllmScore(),))

ROUTES: Mapping[str, Route] = {
    "/v2/rerank": Route((CohereV2(),)),
    "/v1/rerank": Route((_SHARED, _VOYAGE)),
    "/rerank": Route((_VLLM_RERANK, _TEI)),
    "/v1/score": _SCORE,
    "/score": _SCORE,
}


def choose(path: str, body: Mapping[str, Any] | None) -> Dialect:
    """The dialect of a body. body: None if it could not be read. Raises KeyError for a path not in ROUTES."""
    if body is not None:
        if path == "/v1/rerank" and ("top_k" in body or isinstance(body.get("truncation"), bool)):
            return _VOYAGE
        if path == "/rerank" and "texts" in body:
            return _TEI
    return ROUTES[path].dialects[0]
