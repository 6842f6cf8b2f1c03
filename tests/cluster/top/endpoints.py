"""An endpoint of several gateways that answers with real metrics, from a real HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from deployments.metrics import Metrics
from deployments.request_record import RequestRecord
from reranker.pairs import CandidateScores, ShardScores, ShardWork

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
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = endpoint.answer(self.path, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the terminal quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
