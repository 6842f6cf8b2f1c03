"""OpenTelemetry spans of requests: one trace over gateway, tokenizer and scorer. Off by default.

A request's context travels as a W3C `traceparent` in the request types, from process to process. The gateway decides
what is sampled; the others make a span for every context that they are sent. Spans hold numbers and names of models,
no texts. A thread exports them; while the collector is slow or gone they wait in a queue of OTEL_BSP_MAX_QUEUE_SIZE
spans, and the oldest are dropped. No request ever waits for it.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from deployments.request_record import RequestRecord
from deployments.settings import TracingSettings
from reranker.errors import InvalidField
from reranker.pairs import DevicePass
from reranker.version import __version__

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Tracer

Role = Literal["gateway", "tokenizer", "scorer"]
Headers = Iterable[tuple[bytes, bytes]]

_EXPORTER = "opentelemetry.exporter.otlp.proto.http"
_CLOSE_S = 2.0  # for the last spans of a replica that stops
_MAX_MODEL_CHARS = 100


def check_installed() -> None:
    """Raises InvalidField, which names the extra. Ray brings OpenTelemetry itself, but no exporter."""
    try:
        found = importlib.util.find_spec(_EXPORTER)
    except ModuleNotFoundError:
        found = None
    if found is None:
        problem = "needs OpenTelemetry's exporter, which is not installed: pip install 'dear-reranker[otel]'"
        raise InvalidField("tracing.enabled", problem)


def open_spans(settings: TracingSettings | None, role: Role) -> Spans | None:
    """The spans of one replica, None where tracing is off. Raises InvalidField where it cannot be on."""
    if settings is None or not settings.enabled:
        return None
    check_installed()
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    resource = Resource.create({"service.version": __version__, "rerank.part": role})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):  # no variable gives it
        resource = resource.merge(Resource({"service.name": f"reranker-{role}"}))
    # None: as OTEL_TRACES_SAMPLER says, by default all, or as the caller decided.
    provider = TracerProvider(None if role == "gateway" else ALWAYS_ON, resource, shutdown_on_exit=False)
    for processor in span_processors():
        provider.add_span_processor(processor)
    logging.getLogger("ray.serve").addFilter(_add_trace_id)
    return Spans(provider)


def span_processors() -> list[SpanProcessor]:
    """Also what Serve asks for, to export the spans of its proxy: `tracing_config.exporter_import_path`."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return [BatchSpanProcessor(OTLPSpanExporter())]


class Spans:
    """Makes the spans of one replica. Every method needs a request that is traced."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("reranker", __version__)

    @contextmanager
    def request(self, record: RequestRecord, headers: Headers) -> Iterator[None]:
        """The gateway's span, around all that answers a request. Writes the record's `traceparent` if sampled."""
        from opentelemetry import trace
        from opentelemetry.trace import SpanKind, StatusCode

        span = self._tracer.start_span("rerank", _context_of(headers), SpanKind.SERVER)
        with trace.use_span(span, end_on_exit=False):
            try:
                if span.is_recording():
                    record.traceparent = _traceparent_of(span)
                yield
            finally:
                if span.is_recording():
                    span.set_attributes(_attributes(record))
                    if record.status >= 500:
                        span.set_status(StatusCode.ERROR)
                span.end()

    @contextmanager
    def encoding(self, traceparent: str, passages: int) -> Iterator[None]:
        """The span of tokenizing a shard."""
        with self._tracer.start_as_current_span(
            "tokenize",
            _context(traceparent),
            attributes={"rerank.passages": passages},
            record_exception=False,  # its message may quote a text
            set_status_on_exception=False,
        ):
            yield

    @contextmanager
    def scoring(self, traceparent: str) -> Iterator[list[DevicePass]]:
        """The spans of a shard at the scorer: its wait in the queue, and each batch that had pairs of it.

        The block appends the batches. What it logs has the trace's id.
        """
        from opentelemetry.context import attach, detach

        context, arrived_at = _context(traceparent), time.monotonic()
        passes: list[DevicePass] = []
        token = attach(context)
        try:
            yield passes
        finally:
            detach(token)
            self._at_scorer(context, arrived_at, passes)

    def _at_scorer(self, context: Context, arrived_at: float, passes: Sequence[DevicePass]) -> None:
        offset_ns = time.time_ns() - time.monotonic_ns()

        def add(name: str, start: float, end: float, attributes: dict[str, Any]) -> None:
            span = self._tracer.start_span(
                name, context, attributes=attributes, start_time=offset_ns + int(start * 1e9)
            )
            span.end(offset_ns + int(end * 1e9))

        waited_until = passes[0].started_at if passes else time.monotonic()
        add("queue", arrived_at, waited_until, {})
        for one in passes:
            attributes = {
                "rerank.tokens": one.tokens,
                "rerank.pairs": one.pairs,
                "rerank.batch.tokens": one.batch_tokens,
                "rerank.batch.fill": round(one.fill, 4),
            }
            add("device pass", one.started_at, one.started_at + one.seconds, attributes)

    def close(self) -> None:
        """Export what is left, for two seconds at most: a collector that hangs must not keep a replica."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSE_S)


def _attributes(record: RequestRecord) -> dict[str, Any]:
    """Names of the semantic conventions for generative AI where they have one, also of those that are proposed."""
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "rerank",
        "gen_ai.provider.name": "dear-reranker",
        "gen_ai.response.id": record.id,
        "gen_ai.usage.input_tokens": record.tokens,
        "gen_ai.rerank.candidate.count": record.documents,
        "http.request.method": "POST",
        "http.response.status_code": record.status,
        "rerank.dialect": record.dialect_label,
        "rerank.unscored": record.unscored,
    }
    if record.model:
        attributes["gen_ai.request.model"] = record.model[:_MAX_MODEL_CHARS]
    if record.top_n is not None:
        attributes["gen_ai.rerank.top_n"] = record.top_n
    if record.status >= 500:
        attributes["error.type"] = str(record.status)
    return attributes


def _context_of(headers: Headers) -> Context | None:
    """The context that a client sent, or Serve's own, which has the client's as its parent. None: there is none."""
    from opentelemetry import trace

    if trace.get_current_span().get_span_context().is_valid:  # where Serve's own tracing is on
        return None  # the current one
    wanted = (b"traceparent", b"tracestate")
    return _extract({name.decode(): value.decode("latin-1") for name, value in headers if name in wanted})


def _context(traceparent: str) -> Context:
    return _extract({"traceparent": traceparent})


def _extract(carrier: dict[str, str]) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(carrier, Context())


def _traceparent_of(span: Any) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _add_trace_id(record: logging.LogRecord) -> bool:
    """A filter that lets everything pass, and adds the id of the trace to what a traced request logs."""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if context.is_valid and context.trace_flags.sampled and not hasattr(record, "trace_id"):
        record.trace_id = f"{context.trace_id:032x}"
    return True
