"""An endpoint of several gateways that answers with real metrics, from a real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from deployments.metrics import Metrics
from deployments.request_record import RequestRecord
from reranker.pairs import CandidateScores, ShardScores, ShardWork
from tests.servers import Answer, http_server

TOKENS = 10  # of a pair


def gateway(name: str = "a") -> Metrics:
    return Metrics(replica=name)


def serve(metrics: Metrics, pairs: int = 4, status: int = 200, seconds: float = 0.15) -> None:
    """Count one request of one shard."""
    record = RequestRecord("TEI")
    with metrics.request(record):
        record.answered(status)
        record.seconds = seconds
    if status == 200:
        tokens = np.full(pairs, TOKENS, dtype=np.int32)
        scores = CandidateScores(np.zeros(pairs, dtype=np.float32), np.zeros(pairs, dtype=bool), tokens)
        metrics.scored(ShardScores(scores, 1_000.0, ShardWork(0.015, device_s=0.02, batch_fill=0.5)))


class FakeEndpoint:
    """gateways answer in turn. health: what `/health` says. key: what `/metrics` wants, None for nothing."""

    def __init__(self, gateways: Sequence[Metrics]) -> None:
        self.gateways = list(gateways)
        self.health: dict[str, object] = {
            "model": "embedded",
            "version": "0",
            "fidelity": "verified: 48 golden scores",
        }
        self.key: str | None = None
        self.looks = 0
        self.url = ""

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        if path == "/health":
            return 200, json.dumps(self.health).encode()
        if path != "/metrics":
            return 404, b"nothing here"
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            return 401, b"{}"
        metrics = self.gateways[self.looks % len(self.gateways)]
        self.looks += 1
        text = metrics.text()
        serve(metrics)  # between this look and the next
        return 200, text


@contextmanager
def running(endpoint: FakeEndpoint) -> Iterator[FakeEndpoint]:
    with http_server(lambda request: Answer(*endpoint.answer(request.path, request.headers))) as endpoint.url:
        yield endpoint
