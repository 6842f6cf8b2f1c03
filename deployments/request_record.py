"""What is known of one request while it is answered: for its metrics, its line in the log and its span.

Holds no text of a query or a document, and no key.
"""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field
from functools import cache

_LEFT = 499  # the client has left: nobody reads the answer, so it has no status of its own
_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")


@dataclass(slots=True)
class RequestRecord:
    """One request to a dialect's path.

    id: what the answer carries in `x-rerank-id`. dialect: its name. client: the name of its API key, '' without one.
    tokens: as the model read them. seconds: from its head to its answer. traceparent: of its span, '' without one.
    """

    dialect: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: int = _LEFT
    client: str = ""
    model: str | None = None
    documents: int = 0
    top_n: int | None = None
    tokens: int = 0
    unscored: int = 0
    traceparent: str = ""
    started: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0

    def answered(self, status: int) -> None:
        self.status = status
        self.seconds = time.perf_counter() - self.started

    @property
    def dialect_label(self) -> str:
        """'Cohere v1, Jina, vLLM' -> 'cohere_v1_jina_vllm'."""
        return _label(self.dialect)

    @property
    def trace_id(self) -> str:
        return self.traceparent[3:35]


def is_request_id(value: bytes) -> bool:
    """Whether an id that a client sends may stand in a log as it is: no spaces, no line ends, not too long."""
    return _REQUEST_ID.fullmatch(value) is not None


@cache
def _label(dialect: str) -> str:
    return re.sub(r"\W+", "_", dialect.lower()).strip("_")
