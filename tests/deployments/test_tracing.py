"""Spans of requests: one trace over all parts, numbers and no texts, and no request that waits for a collector."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace import SpanKind, StatusCode

from deployments.http.routes import build_http
from deployments.request_record import RequestRecord
from deployments.scoring_loop import ScoringLoop
from deployments.settings import AuthSettings, LogSettings, TracingSettings
from deployments.tracing import Spans, open_spans
from reranker.errors import Overloaded, RerankerError, Unavailable
from reranker.settings import LimitsSettings
from reranker.types import RequestContext
from tests.deployments.handles import FakeScorer
from tests.deployments.http.services import FakeService
from tests.deployments.test_gateway import make_gateway
from tests.deployments.test_scoring_loop import last_token, pairs_of

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
BODY = {"query": "SECRET query", "documents": ["1", "2", "3"], "top_n": 2, "model": "some-model"}


def recorded(sampler: Sampler | None = None) -> tuple[Spans, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans(provider), exporter


def connect(service: FakeService, spans: Spans | None) -> httpx.AsyncClient:
    app = build_http(service, LimitsSettings(), logs=LogSettings(requests=False), spans=spans)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def root_span(failure: Exception | None = None, headers: dict[str, str] | None = None) -> ReadableSpan:
    spans, exporter = recorded()
    async with connect(FakeService(failure), spans) as client:
        await client.post("/v2/rerank", json=BODY, headers=headers)
    (span,) = exporter.get_finished_spans()
    return span


async def test_request_is_a_server_span_with_numbers_and_without_texts() -> None:
    span = await root_span()
    assert (span.name, span.kind, span.parent) == ("rerank", SpanKind.SERVER, None)
    attributes = dict(span.attributes or {})
    assert len(str(attributes.pop("gen_ai.response.id"))) == 32
    assert attributes == {
        "gen_ai.operation.name": "rerank",
        "gen_ai.provider.name": "dear-reranker",
        "gen_ai.request.model": "some-model",
        "gen_ai.rerank.candidate.count": 3,
        "gen_ai.rerank.top_n": 2,
        "gen_ai.usage.input_tokens": 21,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "rerank.dialect": "cohere_v2",
        "rerank.unscored": 0,
    }
    assert "SECRET" not in span.to_json()


@pytest.mark.parametrize(
    ("header", "trace_id"),
    [(TRACEPARENT, TRACE), ("00-xyz", None), (f"00-{'0' * 32}-{PARENT}-01", None), (f"{TRACEPARENT}\x80", None)],
)
async def test_span_continues_the_trace_of_a_well_formed_traceparent(header: str, trace_id: str | None) -> None:
    spans, exporter = recorded()
    async with connect(FakeService(), spans) as client:
        await client.post("/v2/rerank", json=BODY, headers=[(b"traceparent", header.encode("latin-1"))])
    (span,) = exporter.get_finished_spans()
    assert (None if span.parent is None else f"{span.parent.trace_id:032x}") == trace_id
    assert span.parent is None or f"{span.parent.span_id:016x}" == PARENT


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (Overloaded(1.0), 429, StatusCode.UNSET),
        (Unavailable("x"), 503, StatusCode.ERROR),
        (KeyError("SECRET"), 503, StatusCode.ERROR),
    ],
)
async def test_span_of_a_failure_has_its_status_and_no_message(
    failure: Exception, status: int, code: StatusCode
) -> None:
    span = await root_span(failure)
    assert (span.attributes or {})["http.response.status_code"] == status
    assert (span.status.status_code, span.status.description, span.events) == (code, None, ())
    assert "SECRET" not in span.to_json()


async def test_refusal_by_the_guard_is_a_span_too() -> None:
    spans, exporter = recorded()
    app = build_http(FakeService(), LimitsSettings(), auth=AuthSettings(), spans=spans)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://10.0.0.7") as client:
        assert (await client.post("/v2/rerank", json=BODY)).status_code == 503
        assert (await client.get("/health")).status_code == 200
    (span,) = exporter.get_finished_spans()
    assert (span.attributes or {})["http.response.status_code"] == 503


@pytest.mark.parametrize("sampled", [True, False])
async def test_scorer_gets_the_context_of_the_requests_span_if_it_is_sampled(sampled: bool) -> None:
    spans, exporter = recorded(None if sampled else ALWAYS_OFF)
    scorer = FakeScorer()
    app = build_http(make_gateway(scorer), LimitsSettings(), spans=spans)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        await client.post("/v2/rerank", json=BODY)
    sent = {context.traceparent for context in scorer.contexts}
    if not sampled:
        assert sent == {""}
        return
    (context,) = [span.get_span_context() for span in exporter.get_finished_spans()]
    assert context is not None
    assert sent == {f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}


async def test_shard_at_the_scorer_is_a_wait_and_a_span_for_each_batch_in_order() -> None:
    spans, exporter = recorded()
    loop = ScoringLoop(last_token, max_batch_tokens=4)
    with spans.scoring(TRACEPARENT) as passes:
        await loop.score_and_account(RequestContext("r"), pairs_of(1, 2, 3), passes)
    queue, *batches = exporter.get_finished_spans()
    assert [span.name for span in (queue, *batches)] == ["queue"] + ["device pass"] * 2
    for span in (queue, *batches):
        assert span.parent is not None
        assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
        assert (span.start_time or 0) <= (span.end_time or 0)
    assert queue.end_time == batches[0].start_time
    assert [(b.attributes or {})["rerank.tokens"] for b in batches] == [4, 2]
    assert [(b.attributes or {})["rerank.batch.fill"] for b in batches] == [1.0, 0.5]


async def test_shard_that_is_never_scored_is_a_wait_alone() -> None:
    spans, exporter = recorded()
    with pytest.raises(RerankerError), spans.scoring(TRACEPARENT):
        raise Unavailable("gone")
    assert [span.name for span in exporter.get_finished_spans()] == ["queue"]


def test_lines_logged_inside_a_traced_part_have_its_trace_id(
    tracing_on: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("ray.serve")
    log.warning("outside")
    with tracing_on.encoding(TRACEPARENT, 1):
        log.warning("inside")
    assert [getattr(record, "trace_id", None) for record in caplog.records] == [None, TRACE]


class Hanging(SpanExporter):
    """Never comes back from its first export."""

    def __init__(self) -> None:
        self.exported = threading.Event()
        self.free = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.exported.set()
        self.free.wait(60)
        return SpanExportResult.SUCCESS


async def test_requests_are_answered_while_the_exporter_hangs_and_its_queue_is_full() -> None:
    exporter = Hanging()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=4, max_export_batch_size=2, schedule_delay_millis=1)
    )
    spans = Spans(provider)
    async with connect(FakeService(), spans) as client:
        for _ in range(20):
            assert (await client.post("/v2/rerank", json=BODY)).status_code == 200
    assert exporter.exported.wait(10)
    exporter.free.set()
    provider.shutdown()


@pytest.fixture
def tracing_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra: dear-reranker[otel]")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    spans = open_spans(TracingSettings(enabled=True), "tokenizer")
    assert spans is not None
    yield spans
    log = logging.getLogger("ray.serve")
    for added in log.filters[:]:
        log.removeFilter(added)


@pytest.mark.parametrize(
    ("variables", "sampled", "service"),
    [
        ({}, True, "reranker-gateway"),
        ({"OTEL_TRACES_SAMPLER": "always_off", "OTEL_SERVICE_NAME": "search"}, False, "search"),
    ],
)
def test_environment_says_what_is_sampled_and_how_the_service_is_called(
    variables: dict[str, str], sampled: bool, service: str, tracing_on: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    spans = open_spans(TracingSettings(enabled=True), "gateway")
    assert spans is not None
    record = RequestRecord("TEI")
    with spans.request(record, []):
        record.answered(200)
    assert bool(record.traceparent) is sampled
    assert spans._provider.resource.attributes["service.name"] == service


@contextmanager
def silent_collector() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_replica_with_a_silent_collector_ends_without_waiting_for_it() -> None:
    """In a process of its own: what may not wait is its end."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra: dear-reranker[otel]")
    program = (
        "from deployments.settings import TracingSettings; from deployments.tracing import open_spans; "
        "spans = open_spans(TracingSettings(enabled=True), 'scorer')\n"
        f"with spans.encoding('{TRACEPARENT}', 1): pass\n"
        "spans.close()"
    )
    with silent_collector() as url:
        environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_TIMEOUT": "600"}
        done = subprocess.run([sys.executable, "-c", program], env=environment, timeout=60, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_tracing_without_the_extra_is_one_line_that_names_it() -> None:
    program = (
        "import sys; sys.modules['opentelemetry.exporter.otlp'] = None\n"
        "from deployments.app import build_app; from deployments.settings import AppSettings\n"
        "build_app(AppSettings.model_validate({'tracing': {'enabled': True}}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "tracing.enabled: needs OpenTelemetry's exporter, which is not installed: pip install 'dear-reranker[otel]'"
    )
