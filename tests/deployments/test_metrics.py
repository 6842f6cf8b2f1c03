"""What a gateway counts: exactly what was sent, on fake handles, behind the real HTTP routes."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from ray.exceptions import ActorDiedError
from ray.serve.metrics import Gauge

from deployments.gateway import Gateway
from deployments.http.routes import build_http
from deployments.metrics import Alias, Metrics
from deployments.ray_metrics import publish
from deployments.request_record import RequestRecord
from deployments.settings import AuthSettings
from reranker.errors import Overloaded
from reranker.pairs import CandidateScores, ShardScores, ShardWork
from reranker.settings import LimitsSettings
from tests.deployments.handles import TOKENS_PER_PASSAGE, FakeScorer
from tests.deployments.test_gateway import ONE_PASSAGE_PER_SHARD, make_gateway
from tests.reranker.test_keys import entry, write

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "cluster" / "topologies" / "monitoring"
ALIASES = {"aliases": ["tei", "vllm"]}
VLLM: tuple[Alias, ...] = ("vllm",)
GOOD = {"query": "q", "documents": ["1", "2"]}


def client_of(gateway: Gateway) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(build_http(gateway, LimitsSettings(max_documents=5)))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def scrape(client: httpx.AsyncClient) -> dict[str, Metric]:
    response = await client.get("/metrics")
    assert response.status_code == 200
    return {family.name: family for family in text_string_to_metric_families(response.text)}


def total(families: Mapping[str, Metric], name: str, **labels: str) -> float:
    """The sum of a name's samples that have these labels."""
    samples = [sample for family in families.values() for sample in family.samples if sample.name == name]
    assert samples or labels, name
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


CALLS: dict[str, tuple[str, Any, str, int, int]] = {
    "cohere": ("/v2/rerank", GOOD, "cohere_v2", 200, 2),
    "equal documents": ("/v2/rerank", GOOD | {"documents": ["1", "1", "1"]}, "cohere_v2", 200, 1),
    "tei": ("/rerank", {"query": "q", "texts": ["1"]}, "tei", 200, 1),
    "voyage": ("/v1/rerank", GOOD | {"top_k": 1}, "voyage", 200, 2),
    "no documents": ("/v2/rerank", {"query": "q"}, "cohere_v2", 400, 0),
    "too many": ("/v2/rerank", GOOD | {"documents": ["1"] * 6}, "cohere_v2", 400, 0),
    "no JSON": ("/v1/score", "{", "vllm_score", 400, 0),
    "wrong model": ("/v1/score", {"model": "x", "text_1": "q", "text_2": ["1"]}, "vllm_score", 404, 0),
}


@settings(max_examples=10)
@given(names=st.lists(st.sampled_from(sorted(CALLS)), max_size=12))
def test_counts_are_what_was_sent(names: list[str]) -> None:
    async def send() -> dict[str, Metric]:
        async with client_of(make_gateway(FakeScorer(), strict_model=True)) as client:
            for name in names:
                path, body, _, status, _ = CALLS[name]
                content = body if isinstance(body, str) else json.dumps(body)
                assert (await client.post(path, content=content)).status_code == status
            return await scrape(client)

    families = asyncio.run(send())
    got = {
        (sample.labels["dialect"], int(sample.labels["status"])): sample.value
        for sample in families["reranker_requests"].samples
    }
    assert got == Counter((CALLS[name][2], CALLS[name][3]) for name in names)
    pairs = sum(CALLS[name][4] for name in names)
    assert total(families, "reranker_pairs_total") == pairs
    assert total(families, "reranker_tokens_total") == TOKENS_PER_PASSAGE * pairs
    if names:
        assert total(families, "reranker_request_duration_seconds_count") == len(names)
    assert total(families, "reranker_requests_in_progress") == total(families, "reranker_queued_tokens") == 0


@pytest.mark.parametrize(
    ("fault", "status", "retries"),
    [(Overloaded(1.0), "429", 0), (ActorDiedError(), "200", 1), (KeyError("a bug"), "200", 1)],
)
async def test_refusals_and_retries_are_counted(fault: Exception, status: str, retries: int) -> None:
    async with client_of(make_gateway(FakeScorer(fault))) as client:
        await client.post("/v2/rerank", json=GOOD)
        families = await scrape(client)
    assert total(families, "reranker_requests_total", status=status) == 1
    assert total(families, "reranker_shard_retries_total") == retries


async def test_partial_answer_counts_what_it_left_out() -> None:
    gateway = make_gateway(FakeScorer(passage_s=0.03), shards=ONE_PASSAGE_PER_SHARD)
    async with client_of(gateway) as client:
        body = {"query": "q", "documents": ["1", "2"], "timeout_ms": 20, "on_deadline": "partial"}
        await client.post("/v2/rerank", json=body)
        families = await scrape(client)
    assert total(families, "reranker_pairs_total") == 0
    assert total(families, "reranker_unscored_pairs_total") == 2


async def test_request_whose_client_leaves_is_counted_as_499() -> None:
    scorer = FakeScorer(passage_s=5.0)
    async with client_of(make_gateway(scorer)) as client:
        post = asyncio.create_task(client.post("/v2/rerank", json=GOOD))
        await scorer.called.wait()
        assert total(await scrape(client), "reranker_requests_in_progress") == 1
        post.cancel()
        await asyncio.wait({post})
        families = await scrape(client)
    assert total(families, "reranker_requests_total", status="499") == 1
    assert total(families, "reranker_requests_in_progress") == 0


async def test_refusals_before_any_route_are_counted_with_their_dialect_and_status(tmp_path: Path) -> None:
    path = write(tmp_path / "keys.json", {"keys": [entry("app", "rrk_app")]})
    gateway = make_gateway(FakeScorer())
    app = build_http(gateway, LimitsSettings(), auth=AuthSettings(keys_file=path, open_metrics=True))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for key in ("rrk_app", "rrk_wrong", "rrk_wrong"):
            await client.post("/v1/rerank", json=GOOD | {"top_k": 1}, headers={"x-api-key": key})
        await client.post("/v1/read", json=GOOD)
        await client.post("/v2/rerank", json=GOOD, headers={"x-large": "x" * 40_000})
        await client.post("/no/such/path", json=GOOD)
        assert (await client.get("/info")).status_code == 401
        families = await scrape(client)
    got = {
        (sample.labels["dialect"], sample.labels["status"]): sample.value
        for sample in families["reranker_requests"].samples
    }
    assert got == {("voyage", "200"): 1, ("voyage", "401"): 2, ("read", "401"): 1, ("cohere_v2", "431"): 1}


def shard_scores(truncated: int, work: ShardWork) -> ShardScores:
    scores = CandidateScores.unscored(4)
    scores.tokens[:3], scores.truncated[:truncated] = 10, True
    return ShardScores(scores, 1.0, work)


def test_work_of_a_shard_is_counted() -> None:
    metrics = Metrics()
    metrics.scored(shard_scores(2, ShardWork(0.25, 0.5, 0.75, 12)))
    metrics.scored(shard_scores(0, ShardWork(0.75, 0.5, 0.25, 0)))
    families = {family.name: family for family in metrics.collect()}
    want = {
        "reranker_pairs_total": 6,
        "reranker_unscored_pairs_total": 2,
        "reranker_truncated_pairs_total": 2,
        "reranker_tokens_total": 60,
        "reranker_shared_tokens_total": 12,
        "reranker_queue_wait_seconds_sum": 1.0,
        "reranker_device_seconds_total": 1.0,
        "reranker_batch_fill_ratio_sum": 1.0,
        "reranker_batch_fill_ratio_count": 2,
    }
    assert {name: total(families, name) for name in want} == want


async def test_text_has_no_word_of_a_client_and_names_its_replica() -> None:
    word = "seKret"
    async with client_of(make_gateway(FakeScorer(), metrics=ALIASES)) as client:
        headers = {"authorization": f"Bearer {word}", "x-request-id": word}
        for body in ({"query": word, "documents": [word], "model": word, word: 1}, f'{{"{word}'):
            content = body if isinstance(body, str) else json.dumps(body)
            await client.post("/v2/rerank", content=content, headers=headers)
            await client.post(f"/v1/retrieval/{word}/reranking", content=content, headers=headers)
        await client.post(f"/{word}", headers=headers)
        response = await client.get("/metrics", headers=headers)
    assert word not in response.text
    for family in text_string_to_metric_families(response.text):
        assert {sample.labels["replica"] for sample in family.samples} <= {"1"}


async def test_page_answers_get_and_head_in_prometheus_text_format() -> None:
    async with client_of(make_gateway(FakeScorer())) as client:
        got, head = await client.get("/metrics"), await client.head("/metrics")
    assert got.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_state_is_unknown_until_it_is_known() -> None:
    families = {family.name: family for family in Metrics().collect()}
    assert math.isnan(total(families, "reranker_fidelity_verified"))
    async with client_of(make_gateway(FakeScorer())) as client:
        families = await scrape(client)
    assert total(families, "reranker_fidelity_verified") == 1
    assert total(families, "reranker_replicas_running", role="scorer") == 1
    assert total(families, "reranker_scorer_tokens_per_second") == 1_000
    (info,) = families["reranker_model_info"].samples
    assert info.labels.items() >= {"model": "fake", "dtype": "float32", "template": "dear"}.items()


async def test_aliases_come_only_if_asked_for_and_agree_with_our_names() -> None:
    async with client_of(make_gateway(FakeScorer(), metrics=ALIASES)) as client:
        await client.post("/v2/rerank", json=GOOD)
        await client.post("/v2/rerank", json={})
        families = await scrape(client)
    assert [total(families, f"te_request_{name}") for name in ("count", "success", "failure")] == [2, 1, 1]
    assert total(families, "te_request_duration_count") == 2
    assert total(families, "te_queue_size") == total(families, "vllm:num_requests_waiting") == 0
    assert total(families, "vllm:num_requests_running") == 0
    assert all(family.name.startswith("reranker_") for family in Metrics().collect())


def test_names_are_conventional() -> None:
    for family in Metrics().collect():
        assert re.fullmatch(r"reranker_[a-z][a-z_]*[a-z]", family.name)
        assert family.documentation.endswith(".")
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_ratio"))


async def test_ray_gets_every_sample_as_a_gauge_and_a_failing_ray_is_survived() -> None:
    calls, third = 0, asyncio.Event()
    metrics = Metrics(VLLM)
    published: dict[tuple[Any, ...], float] = {}
    metrics.retried()
    record = RequestRecord("TEI")
    with metrics.request(record):
        record.answered(200)

    class Recorded(Gauge):
        """Ray's own, which also checks names and labels."""

        def set(self, value: float | None, tags: dict[str, str] | None = None) -> None:
            assert value is not None
            super().set(value, tags or {})
            published[(self._name, *sorted((tags or {}).items()))] = value

    async def observe() -> Metrics:
        nonlocal calls
        calls += 1
        if calls == 3:
            third.set()
        if calls == 1:
            raise RuntimeError("the first time fails")
        return metrics

    task = asyncio.create_task(publish(observe, Recorded, every_s=0.0))
    await third.wait()
    task.cancel()
    assert published[("reranker_shard_retries_total",)] == 1
    assert published[("reranker_requests_total", ("dialect", "tei"), ("status", "200"))] == 1
    assert published[("reranker_request_duration_seconds_bucket", ("le", "+Inf"), ("status_class", "2xx"))] == 1
    assert ("reranker_fidelity_verified",) not in published
    assert ("vllm_num_requests_waiting", ("model_name", "")) in published


def names_with_suffixes() -> set[str]:
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
    return {family.name + suffix for family in Metrics().collect() for suffix in suffixes[family.type]}


def expressions() -> list[str]:
    """All of the dashboard and of the alert rules."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [*targets, *(rule["expr"] for rule in rules)]


def test_dashboard_and_alerts_name_only_metrics_that_exist() -> None:
    named = {name for expression in expressions() for name in re.findall(r"reranker_\w+", expression)}
    assert named <= names_with_suffixes()
    families = {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in named}
    assert families == {family.name for family in Metrics().collect()}, "a metric that nobody looks at"


def test_page_lists_every_metric_and_alert() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    rows = re.findall(r"^\| `(reranker_\w+)` \| (\w+) \|", page, re.MULTILINE)
    kinds = {family.name + "_total" * (family.type == "counter"): family.type for family in Metrics().collect()}
    assert dict(rows) == kinds
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert re.findall(r"^\| `(Reranker\w+)` \|", page, re.MULTILINE) == [rule["alert"] for rule in rules]
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
