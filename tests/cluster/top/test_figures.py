"""What two looks at an endpoint say: rates, quantiles and states, of the gateways that were met."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

import cluster.top.figures
from cluster.top.endpoint import Labels, Scrape
from cluster.top.figures import History, quantile
from deployments.metrics import Metrics
from tests.cluster.top.endpoints import TOKENS, gateway, serve


def look(metrics: Metrics, at: float) -> Scrape:
    values: dict[str, dict[Labels, float]] = {}
    name = ""
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            name = sample.labels["replica"]
            values.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return Scrape(at, name, values)


def history_of(metrics: Metrics, between: Callable[[], None], seconds: float = 2.0) -> History:
    history = History()
    history.add(look(metrics, 0.0))
    between()
    history.add(look(metrics, seconds))
    return history


def test_every_metric_that_is_read_exists() -> None:
    """Names of metrics belong to the endpoint: one that is renamed there would read as unknown here."""
    metrics = gateway()
    serve(metrics)
    metrics._running.labels("scorer").set(1)  # set by `observe`, from a fleet
    metrics._wanted.labels("scorer").set(1)
    there = look(metrics, 0.0).values
    read = set(re.findall(r'"(reranker_\w+)"', Path(cluster.top.figures.__file__).read_text()))
    histograms = {"reranker_request_duration_seconds", "reranker_queue_wait_seconds"}
    assert read - set(there) == histograms
    assert all(f"{name}_bucket" in there for name in histograms)


def test_rates_are_what_happened_between_the_looks_over_their_distance() -> None:
    metrics = gateway()
    serve(metrics, pairs=100)  # before the first look

    def between() -> None:
        for status in (200, 200, 200, 429, 429, 503):
            serve(metrics, pairs=4, status=status)
        metrics.retried()

    f = history_of(metrics, between, seconds=2.0).figures()
    assert (f.seconds, f.requests_per_s, f.refused_per_s, f.failed_per_s) == (2.0, 3.0, 1.0, 0.5)
    assert (f.pairs_per_s, f.tokens_per_s, f.retries_per_s) == (6.0, 6.0 * TOKENS, 0.5)
    assert f.batch_fill == pytest.approx(0.5)
    assert f.request_p50_s == pytest.approx(0.15)  # the middle of the bucket from 0.1 to 0.2
    assert 0.01 < (f.queue_wait_p50_s or 0) < 0.02


def test_first_look_has_states_and_no_rates() -> None:
    history = History()
    metrics = gateway()
    serve(metrics)
    history.add(look(metrics, 0.0))
    f = history.figures()
    assert not history.has_rates
    assert (f.seconds, f.pairs_per_s, f.request_p99_s, f.batch_fill) == (None, None, None, None)
    assert (f.in_progress, f.queued_tokens, f.queued_pairs, f.gateways_seen) == (0, 0, 0, 1)
    assert (f.queue_limit_tokens, f.fidelity_verified, f.scorers_running) == (None, None, None)


def test_gateways_are_compared_with_themselves_and_added_up() -> None:
    history, one, other = History(), gateway("a"), gateway("b")
    for _ in range(1_000):
        serve(other)
    for at, metrics in ((0.0, one), (1.0, other), (2.0, one), (3.0, other)):
        history.add(look(metrics, at))
        serve(metrics, pairs=4)
    f = history.figures()
    assert (f.gateways_seen, f.pairs_per_s) == (2, 4.0)


def test_gateway_that_was_not_met_for_long_is_forgotten() -> None:
    history, one, other = History(), gateway("a"), gateway("b")
    for at, metrics in ((0.0, one), (1.0, one), (2.0, other), (40.0, other)):
        history.add(look(metrics, at))
    assert history.figures().gateways_seen == 1


@given(
    counts=st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(any),
    shares=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
)
def test_quantiles_rise_with_their_share_and_stay_within_the_buckets(
    counts: list[int], shares: tuple[float, float]
) -> None:
    buckets = [(float(n + 1), float(sum(counts[: n + 1]))) for n in range(len(counts))]
    buckets.append((float("inf"), buckets[-1][1]))
    low, high = (quantile(buckets, share) for share in sorted(shares))
    assert low is not None
    assert high is not None
    assert 0 <= low <= high <= len(counts)


def test_quantile_of_nothing_is_unknown_and_above_all_bounds_is_the_last_bound() -> None:
    assert quantile([], 0.5) is None
    assert quantile([(1.0, 0.0), (float("inf"), 0.0)], 0.5) is None
    assert quantile([(1.0, 0.0), (float("inf"), 9.0)], 0.5) == 1.0
