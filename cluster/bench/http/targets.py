"""The servers that can be measured, ours and three peers, and the JSON that each reads and writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import httpx

from reranker.errors import InvalidField, Unavailable

PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Dialect:
    """The JSON of one kind of server.

    documents: name of the request field for documents. extra: JSON of further fields in every request. results: name
    of the response field with one entry per document; None if the response is that list. models: path that lists the
    model name that every request must carry; None if requests carry none.
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

    def scored_documents(self, content: Any) -> int:
        """Number of documents that a response scores; 0 if it is not a response of this kind of server."""
        if self.results is not None:
            content = content.get(self.results) if isinstance(content, dict) else None
        return len(content) if isinstance(content, list) else 0


OURS = Dialect("reranker", "/v2/rerank", "documents")
# TEI refuses long pairs unless asked to truncate. vLLM and infinity require the served model's name.
PEERS: Mapping[str, Dialect] = MappingProxyType(
    {
        "tei": Dialect("tei", "/rerank", "texts", extra='"truncate":true,', results=None),
        "vllm": Dialect("vllm", "/v1/rerank", "documents", models="/v1/models"),
        "infinity": Dialect("infinity", "/rerank", "documents", models="/models"),
    }
)


@dataclass(frozen=True, slots=True)
class Target:
    """A server to measure.

    process: pid of the root of its processes if the benchmark started it, else None. keys: API keys that it accepts;
    empty if it needs none.
    """

    name: str
    url: str
    dialect: Dialect
    model: str | None = None
    process: int | None = None
    keys: Sequence[str] = ()

    def key(self, client: int | None = None) -> str | None:
        """What a request presents. client: number of the client; None does not say which, and needs a key only if
        the server does."""
        if client is None:
            return self.keys[0] if self.keys else None
        return self.keys[client] if self.keys else f"bench-{client}"

    def body(self, query: str, documents: bytes) -> bytes:
        return self.dialect.body(query, documents, self.model)


def dialect_of_peer(name: str) -> Dialect:
    """Raises InvalidField."""
    if name not in PEERS:
        raise InvalidField("--peer", f"{name!r} is not known: use one of {', '.join(PEERS)}, followed by its URL")
    return PEERS[name]


def connect(name: str, url: str, dialect: Dialect, process: int | None = None, keys: Sequence[str] = ()) -> Target:
    """A target that answered a probe request correctly. Raises Unavailable with the answer and what to do."""
    url = url.rstrip("/")
    with httpx.Client(base_url=url, timeout=PROBE_TIMEOUT_S, trust_env=False) as client:
        try:
            model = _model(client, dialect) if dialect.models else None
            target = Target(name, url, dialect, model, process, keys)
            body = target.body("a probe", json.dumps(["one", "two"]).encode())
            headers = {"content-type": "application/json"} | bearer(target.key())
            response = client.post(dialect.path, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"{name}: no answer at {url} ({type(error).__name__}): start it, or give its base URL"
            ) from None
    content = _content(response)
    if response.status_code != httpx.codes.OK:
        raise Unavailable(f"{name}: {url}{dialect.path} answered {response.status_code}: {error_text(content)}")
    if dialect.scored_documents(content) != 2:
        raise Unavailable(
            f"{name}: {url}{dialect.path} should score two documents, but answered {response.text[:120]!r}: does "
            f"{dialect.name} run there?"
        )
    return target


def bearer(key: str | None) -> dict[str, str]:
    """The header that presents an API key; none without a key."""
    return {} if key is None else {"authorization": f"Bearer {key}"}


def _model(client: httpx.Client, dialect: Dialect) -> str | None:
    """The first model that the server lists; None if it lists none."""
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


def error_text(content: Any) -> str:
    """The message of an error response of any server: {"error": str or {"message"}}, {"message"} or {"detail"}."""
    while isinstance(content, dict):
        content = next((content[field] for field in ("error", "message", "detail") if field in content), str(content))
    return str(content)[:300]
