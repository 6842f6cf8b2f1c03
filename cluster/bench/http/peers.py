"""How each server is asked, and how its answers are read: ours, and three peers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import httpx

from reranker.errors import InvalidField, Unavailable

PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Dialect:
    """One server's JSON. documents: the field they stand in. extra: fields of every body, as JSON.

    results: the field with one entry for each document; None where the answer itself is that list. models: where the
    name is had that bodies must carry; None where they carry none.
    """

    name: str
    path: str
    documents: str
    extra: str = ""
    results: str | None = "results"
    models: str | None = None

    def body(self, query: str, documents: bytes, model: str | None) -> bytes:
        """documents: a JSON array of strings."""
        named = f'"model":{json.dumps(model)},' if model is not None else ""
        head = f'{{{named}{self.extra}"query":{json.dumps(query)},"{self.documents}":'
        return head.encode() + documents + b"}"

    def answers(self, content: Any) -> int:
        """How many documents an answer scores; 0 where it is no answer of this server."""
        if self.results is not None:
            content = content.get(self.results) if isinstance(content, dict) else None
        return len(content) if isinstance(content, list) else 0


OURS = Dialect("reranker", "/v2/rerank", "documents")
# truncate: TEI refuses long pairs by default. vLLM and infinity want the served model's name.
PEERS: Mapping[str, Dialect] = MappingProxyType(
    {
        "tei": Dialect("tei", "/rerank", "texts", extra='"truncate":true,', results=None),
        "vllm": Dialect("vllm", "/v1/rerank", "documents", models="/v1/models"),
        "infinity": Dialect("infinity", "/rerank", "documents", models="/models"),
    }
)


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is measured. process: the id that its processes descend from, where the bench started them."""

    name: str
    url: str
    dialect: Dialect
    model: str | None = None
    process: int | None = None

    def body(self, query: str, documents: bytes) -> bytes:
        return self.dialect.body(query, documents, self.model)


def peer_named(name: str) -> Dialect:
    """Raises InvalidField."""
    if name not in PEERS:
        raise InvalidField("--peer", f"{name!r} is not known: use one of {', '.join(PEERS)}, and then its URL")
    return PEERS[name]


def reach(name: str, url: str, dialect: Dialect, process: int | None = None) -> Target:
    """A target that has answered one request as it should. Raises Unavailable: what came, and what to do."""
    url = url.rstrip("/")
    with httpx.Client(base_url=url, timeout=PROBE_TIMEOUT_S, trust_env=False) as client:
        try:
            model = _model(client, dialect) if dialect.models else None
            target = Target(name, url, dialect, model, process)
            body = target.body("a probe", json.dumps(["one", "two"]).encode())
            response = client.post(dialect.path, content=body, headers={"content-type": "application/json"})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"{name}: nothing answers at {url} ({type(error).__name__}): start it, or give its base URL"
            ) from None
    content = _content(response)
    if response.status_code != httpx.codes.OK:
        raise Unavailable(f"{name}: {url}{dialect.path} answered {response.status_code}: {complaint(content)}")
    if dialect.answers(content) != 2:
        raise Unavailable(
            f"{name}: {url}{dialect.path} did not answer with two scores for two documents, but with "
            f"{response.text[:120]!r}: does {dialect.name} run there?"
        )
    return target


def _model(client: httpx.Client, dialect: Dialect) -> str | None:
    """The first model that the server lists; None where it lists none."""
    content = _content(client.get(str(dialect.models)))
    try:
        return str(content["data"][0]["id"])
    except (KeyError, IndexError, TypeError):
        return None


def _content(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text


def complaint(content: Any) -> str:
    """The words of an error, whichever server wrote it: {"error": str or {"message"}}, {"message"} or {"detail"}."""
    while isinstance(content, dict):
        content = next((content[field] for field in ("error", "message", "detail") if field in content), str(content))
    return str(content)[:300]
