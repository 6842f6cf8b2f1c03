"""An OTLP collector: a real HTTP server that decodes what exporters send it."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.servers import Answer, Request, http_server


class ReceivedSpan(NamedTuple):
    """Ids are in hexadecimal, times in nanoseconds since 1970."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    started: int
    ended: int
    attributes: dict[str, Any]


class Collector:
    """spans: all that have arrived, of all processes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[ReceivedSpan] = []
        self.raw = b""

    def receive(self, body: bytes) -> None:
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                attributes = {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}
                ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                times = (span.start_time_unix_nano, span.end_time_unix_nano)
                self.spans.append(ReceivedSpan(service, span.name, *ids, *times, attributes))

    def of_trace(self, trace_id: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self.spans
            time.sleep(0.05)


@contextmanager
def running_collector() -> Iterator[Collector]:
    def received(request: Request) -> Answer:
        assert request.path == "/v1/traces"
        is_packed = request.headers.get("content-encoding") == "gzip"
        collector.receive(gzip.decompress(request.body) if is_packed else request.body)
        return Answer(200, ExportTraceServiceResponse().SerializeToString(), "application/x-protobuf")

    with http_server(received) as url:
        collector = Collector(url)
        yield collector
