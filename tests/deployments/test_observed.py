"""One request seen through a real cluster: its spans at a collector, and its lines in the logs of all parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray import serve

from deployments.app import gateway, scorer, tokenizer
from deployments.settings import AppSettings
from tests.deployments.otlp_collector import Collector, running_collector
from tests.deployments.test_tracing import silent_collector

pytestmark = pytest.mark.slow
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra: dear-reranker[otel]")

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "call-of-a-client-1"}
TEXT = "when is xylophonic tide"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@contextmanager
def observed(
    cluster: str, name: str, variables: Mapping[str, str], more: Mapping[str, Any], **settings: Any
) -> Iterator[httpx.Client]:
    """A traced graph of this name. variables: of its replicas' environment. more: options of its deployments."""
    app = AppSettings.model_validate(
        {"device": "cpu", "engine": {"threads": 1}, "tracing": {"enabled": True}} | settings
    )
    options = {"ray_actor_options": {"num_cpus": 0.2, "runtime_env": {"env_vars": dict(variables)}}, **more}
    bound = gateway.options(**options).bind(
        app,
        tokenizer.options(**options).bind(app.checkpoint, tracing=app.tracing),
        scorer.options(**options).bind(app.checkpoint, app.engine, app.tracing),
    )
    serve.run(bound, name=name, route_prefix=f"/{name}")
    with httpx.Client(base_url=f"{cluster}/{name}", timeout=60) as client:
        yield client
    serve.delete(name)


@pytest.fixture(scope="module")
def client(cluster: str, collector: Collector, logs: Path) -> Iterator[httpx.Client]:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    logging = {"logging_config": {"encoding": "JSON", "logs_dir": str(logs)}}
    with observed(cluster, "observed", variables, logging, shards={"direct_chars": 100}) as client:
        yield client


def test_graph_with_a_silent_collector_answers_every_request_and_can_be_deleted(cluster: str) -> None:
    with silent_collector() as url:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_TIMEOUT": "600"}
        variables |= {"OTEL_BSP_MAX_QUEUE_SIZE": "8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}
        with observed(cluster, "silent", variables, {}) as client:
            body = {"query": "tide", "documents": ["high tide"]}
            assert {client.post("/v2/rerank", json=body).status_code for _ in range(40)} == {200}
        assert "silent" not in serve.status().applications


def lines_of(logs: Path, part: str) -> list[dict[str, object]]:
    (path,) = logs.glob(f"*_{part}_*.log")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("times", [1, 50])
def test_request_is_one_trace_of_gateway_tokenizer_and_scorer(
    client: httpx.Client, collector: Collector, times: int
) -> None:
    """A small shard is tokenized by the scorer, a larger one by a tokenizer."""
    collector.spans.clear()
    answer = client.post("/v2/rerank", json={"query": TEXT, "documents": [TEXT * times] * 2}, headers=HEADERS)
    assert answer.status_code == 200, answer.text
    collector.wait_until(lambda: len(collector.of_trace(TRACE)) >= 4)

    by_name = {span.name: span for span in collector.of_trace(TRACE)}
    root, encoded, queued, scored = (by_name[name] for name in ("rerank", "tokenize", "queue", "device pass"))
    assert root.parent_id == CALLER
    assert {span.parent_id for span in (encoded, queued, scored)} == {root.span_id}
    where = "reranker-scorer" if times == 1 else "reranker-tokenizer"
    assert [span.service for span in (root, encoded, queued, scored)] == [
        "reranker-gateway",
        where,
        "reranker-scorer",
        "reranker-scorer",
    ]
    assert queued.ended == scored.started
    assert root.attributes["gen_ai.response.id"] == HEADERS["x-request-id"] == answer.headers["x-rerank-id"]
    assert root.attributes["gen_ai.usage.input_tokens"] > 0
    assert TEXT.encode() not in collector.raw


def test_every_line_about_a_request_names_it_as_the_answer_does_and_quotes_no_text(
    client: httpx.Client, collector: Collector, logs: Path
) -> None:
    body = {"query": TEXT, "documents": [TEXT * 50]}
    named = client.post("/v2/rerank", json=body, headers=HEADERS | {"x-request-id": "named-1"})
    unnamed = client.post("/v2/rerank", json=body)
    refused = client.post("/v2/rerank", json=body | {"documents": 3})
    for answer in (named, unnamed, refused):
        assert answer.headers["x-rerank-id"] == answer.headers["x-request-id"]
    ids = [answer.headers["x-rerank-id"] for answer in (named, unnamed)]
    assert ids[0] == "named-1"
    for part in ("Gateway", "Tokenizer", "Scorer"):
        about = [line.get("request_id") for line in lines_of(logs, part)]
        assert set(ids) <= set(about), part
    requests = {line["request_id"]: line for line in lines_of(logs, "Gateway") if "dialect" in line}
    assert (requests["named-1"]["status"], requests["named-1"]["documents"]) == (200, 1)
    assert requests["named-1"]["trace_id"] == TRACE
    assert requests[refused.headers["x-rerank-id"]]["status"] == 400
    assert all(TEXT not in path.read_text() for path in logs.glob("*.log"))
