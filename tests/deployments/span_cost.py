"""What tracing and logging cost a request, in CPU time, with a collector in a process of its own.

python -m tests.deployments.span_cost [REQUESTS]
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from logging.handlers import MemoryHandler, RotatingFileHandler
from pathlib import Path

from ray._common.formatters import JSONFormatter

from deployments.access_log import AccessLog
from deployments.request_record import RequestRecord
from deployments.settings import LogSettings, TracingSettings
from deployments.tracing import Role, Spans, open_spans
from reranker.pairs import DevicePass
from tests.deployments.otlp_collector import running_collector

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEADERS = [(b"host", b"x"), (b"traceparent", TRACEPARENT.encode())]


def record() -> RequestRecord:
    return RequestRecord("Cohere v2", model="m", documents=100, top_n=10)


def at_gateway(spans: Spans) -> None:
    one = record()
    with spans.request(one, HEADERS):
        one.answered(200)


def at_tokenizer(spans: Spans) -> None:
    with spans.encoding(TRACEPARENT, 100):
        pass


def at_scorer(spans: Spans) -> None:
    with spans.scoring(TRACEPARENT) as passes:
        passes.append(DevicePass(time.monotonic(), 0.01, 100, 10, 1_000, 0.5))


def measure_spans(role: Role, one: Callable[[Spans], None], requests: int) -> None:
    """Nothing is dropped: the queue holds all, and the end waits for their export."""
    spans = open_spans(TracingSettings(enabled=True), role)
    assert spans is not None
    thread, process = time.thread_time(), time.process_time()
    for _ in range(requests):
        one(spans)
    in_request = time.thread_time() - thread
    spans._provider.shutdown()
    with_export = time.process_time() - process
    print(
        f"{role}: {1e6 * in_request / requests:.0f} µs in the request, {1e6 * with_export / requests:.0f} with export"
    )


def measure_lines(requests: int) -> None:
    """Written as Serve writes them: JSON, each flushed to its file."""
    log = logging.getLogger("ray.serve")
    log.handlers.clear()
    log.propagate = False
    log.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as directory:
        file = RotatingFileHandler(Path(directory) / "log")
        file.setFormatter(JSONFormatter())
        log.addHandler(MemoryHandler(1, target=file))
        for what, max_lines_per_s in (("written", 10**9), ("left out", 1)):
            lines = AccessLog(LogSettings(max_lines_per_s=max_lines_per_s))
            started = time.thread_time()
            for _ in range(requests):
                lines.write(record())
            print(f"line {what}: {1e6 * (time.thread_time() - started) / requests:.1f} µs, its record included")
        file.close()


def main() -> None:
    if sys.argv[1:] == ["collect"]:
        with running_collector() as collector:
            print(collector.url, flush=True)
            sys.stdin.read()
        return
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    command = [sys.executable, "-m", "tests.deployments.span_cost", "collect"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as collecting:
        assert collecting.stdout is not None
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collecting.stdout.readline().strip()
        os.environ["OTEL_BSP_MAX_QUEUE_SIZE"] = str(2 * requests)
        parts: tuple[tuple[Role, Callable[[Spans], None]], ...] = (
            ("gateway", at_gateway),
            ("tokenizer", at_tokenizer),
            ("scorer", at_scorer),
        )
        for role, one in parts:
            measure_spans(role, one, requests)
    measure_lines(requests)


if __name__ == "__main__":
    main()
