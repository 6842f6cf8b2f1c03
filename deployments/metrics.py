"""What one gateway counts and measures, in Prometheus' terms. Knows neither HTTP nor Ray.

A scorer's figures come with its answers (`ShardWork`), so all gateways together know all that was scored. No label
holds anything that a client sent. One event loop owns it: its locks never wait.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric

from deployments.capacity import Capacity
from deployments.request_record import RequestRecord
from reranker.pairs import ShardScores
from reranker.scheduling.admission import Admission
from reranker.types import ModelDescription

Alias = Literal["tei", "vllm"]
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_DURATIONS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0)
_WAITS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
_FILLS = tuple(tenths / 10 for tenths in range(1, 11))


class Metrics:
    """The metrics of one gateway, in a registry of their own."""

    def __init__(self, aliases: Collection[Alias] = (), model_name: str = "", replica: str = "") -> None:
        """aliases: servers under whose names some metrics are repeated. replica: a label of every sample."""
        self._aliases, self._model_name, self._replica = aliases, model_name, replica
        self._registry = registry = CollectorRegistry()

        def counter(name: str, help_: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"reranker_{name}", help_, labels, registry=registry)

        def gauge(name: str, help_: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"reranker_{name}", help_, labels, registry=registry)

        def histogram(name: str, help_: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
            return Histogram(f"reranker_{name}", help_, labels, registry=registry, buckets=buckets)

        self._requests = counter("requests_total", "Requests answered; 499: the client left.", ("dialect", "status"))
        self._duration = histogram(
            "request_duration_seconds", "From the request's head to its answer.", _DURATIONS_S, ("status_class",)
        )
        self._in_progress = gauge("requests_in_progress", "Requests that are not answered yet.")
        self._pairs = counter("pairs_total", "Pairs scored; equal ones of a request count once.")
        self._truncated = counter("truncated_pairs_total", "Of them, pairs that were cut to fit the model.")
        self._unscored = counter("unscored_pairs_total", "Pairs without a score at the deadline of a partial answer.")
        self._tokens = counter("tokens_total", "Tokens of the scored pairs, as the model reads them.")
        self._shared = counter("shared_tokens_total", "Of them, tokens of query parts that were not computed again.")
        self._wait = histogram("queue_wait_seconds", "A shard's wait at the scorer for its first batch.", _WAITS_S)
        self._device = counter("device_seconds_total", "Device time of the scored shards, by their tokens.")
        self._fill = histogram("batch_fill_ratio", "Tokens of a shard's batches over the most that fit.", _FILLS)
        self._retries = counter("shard_retries_total", "Shards sent again: a replica was lost, hung or failed.")
        self._queued = gauge("queued_tokens", "Estimated tokens that are admitted and not scored yet.")
        self._limit = gauge("queue_limit_tokens", "Queued tokens from which on requests are refused.")
        self._speed = gauge("scorer_tokens_per_second", "Speed of one scorer in full batches.")
        self._running = gauge("replicas_running", "Replicas that run.", ("role",))
        self._wanted = gauge("replicas_wanted", "Replicas that run or are being started.", ("role",))
        self._start = gauge("scorer_start_seconds", "How long a scorer took to load, verify and warm up.")
        self._verified = gauge("fidelity_verified", "1: golden scores were replayed; 0: there are none.")
        self._info = gauge("model_info", "The model; always 1.", ("model", "dtype", "template", "forward"))
        for unknown in (self._limit, self._speed, self._start, self._verified):
            unknown.set(math.nan)
        self._described: ModelDescription | None = None
        self._at_once_tokens = math.inf  # this gateway's share of what all devices hold at a time

    @contextmanager
    def request(self, record: RequestRecord) -> Iterator[None]:
        """Count a request when the block ends."""
        self._in_progress.inc()
        try:
            yield
        finally:
            self._in_progress.dec()
            self._requests.labels(record.dialect_label, str(record.status)).inc()
            self._duration.labels(f"{record.status // 100}xx").observe(record.seconds)

    def scored(self, answer: ShardScores) -> None:
        """Count a shard."""
        tokens, work = answer.scores.tokens, answer.work
        scored = int(np.count_nonzero(tokens))
        self._pairs.inc(scored)
        self._unscored.inc(len(tokens) - scored)
        self._truncated.inc(int(np.count_nonzero(answer.scores.truncated)))
        self._tokens.inc(int(tokens.sum()))
        self._shared.inc(work.shared_tokens)
        self._wait.observe(work.queue_wait_s)
        if work.device_s:
            self._device.inc(work.device_s)
            self._fill.observe(work.batch_fill)

    def unscored(self, pairs: int) -> None:
        """Count pairs whose shards gave no answer by the deadline of a partial answer."""
        self._unscored.inc(pairs)

    def retried(self) -> None:
        """Count a shard that is sent again."""
        self._retries.inc()

    def observe(self, admission: Admission, capacity: Capacity) -> None:
        """Set the gauges that show a state."""
        fleet, description = capacity.fleet, capacity.description
        self._queued.set(admission.queued_tokens)
        self._limit.set(admission.limit_tokens)
        self._speed.set(capacity.scorer_tokens_per_s or math.nan)
        for name, running, starting in (
            ("scorer", fleet.scorers, fleet.starting_scorers),
            ("gateway", fleet.gateways, fleet.starting_gateways),
        ):
            self._running.labels(name).set(running)
            self._wanted.labels(name).set(running + starting)
        if description is None:
            return
        scorers = max(1, fleet.scorers) / max(1, fleet.gateways)
        self._at_once_tokens = scorers * (description.max_batch_tokens or math.inf)
        if description is not self._described:
            self._described = description
            self._start.set(description.start_s)
            self._verified.set(description.fidelity.startswith("verified"))
            self._info.clear()  # an update may have brought another model
            self._info.labels(description.model, description.dtype, description.template, description.forward).set(1)

    def collect(self) -> list[Metric]:
        """All metrics, under our names and the aliases."""
        families = list(self._registry.collect())
        for family in families:
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        return families + self._alias_families(families)

    def text(self) -> bytes:
        """In Prometheus' text format, with the replica as a label of every sample."""
        return generate_latest(_Labelled(self.collect(), self._replica))

    def _alias_families(self, families: Iterable[Metric]) -> list[Metric]:
        values: dict[str, float] = {}  # of all label sets together
        by_status: dict[bool, float] = {True: 0.0, False: 0.0}
        for sample in (sample for family in families for sample in family.samples):
            values[sample.name] = values.get(sample.name, 0.0) + sample.value
            if sample.name == "reranker_requests_total":
                by_status[sample.labels["status"] == "200"] += sample.value
        in_progress = values["reranker_requests_in_progress"]
        # Requests are not counted apart in the scorers' queues: those that wait are estimated by their work.
        queued = values["reranker_queued_tokens"]
        waiting = round(in_progress * max(0.0, 1 - self._at_once_tokens / queued)) if queued else 0
        found: list[Metric] = []

        def add(name: str, kind: str, value: float, **labels: str) -> None:
            family = Metric(name, "An alias: see docs/monitoring.md.", kind)
            family.add_sample(name, labels, value)
            found.append(family)

        if "tei" in self._aliases:
            # Counters of TEI do not end in _total.
            add("te_request_count", "unknown", sum(by_status.values()))
            add("te_request_success", "unknown", by_status[True])
            add("te_request_failure", "unknown", by_status[False])
            add("te_queue_size", "gauge", waiting)
            found += [
                _renamed(family, alias)
                for family in families
                for alias in [_TEI_HISTOGRAMS.get(family.name)]
                if alias is not None
            ]
        if "vllm" in self._aliases:
            add("vllm:num_requests_waiting", "gauge", waiting, model_name=self._model_name)
            add("vllm:num_requests_running", "gauge", in_progress - waiting, model_name=self._model_name)
        return found


_TEI_HISTOGRAMS = {
    "reranker_request_duration_seconds": "te_request_duration",
    "reranker_queue_wait_seconds": "te_request_queue_duration",
}


def _renamed(family: Metric, name: str) -> Metric:
    renamed = Metric(name, "An alias: see docs/monitoring.md.", family.type)
    renamed.samples = [s._replace(name=name + s.name.removeprefix(family.name)) for s in family.samples]
    return renamed


@dataclass(frozen=True, slots=True)
class _Labelled:
    """Meets Collector: families with a label on every sample."""

    families: list[Metric]
    replica: str

    def collect(self) -> Iterator[Metric]:
        for family in self.families:
            labelled = Metric(family.name, family.documentation, family.type)
            labelled.samples = [s._replace(labels=s.labels | {"replica": self.replica}) for s in family.samples]
            yield labelled
