"""Figures computed from rows, and the wait that a refusal advises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.bench.http import figures
from cluster.bench.http.records import Row, read_retry_after

ROWS = st.lists(
    st.builds(
        lambda intended_s, late_s, took_s, documents, status, wait_s: Row(
            intended_s, intended_s + late_s, intended_s + late_s + took_s, documents, status, wait_s
        ),
        st.floats(0, 60),
        st.floats(0, 5),
        st.floats(0.001, 30),
        st.integers(1, 1_000),
        st.sampled_from([200, 200, 429, 503]),
        st.one_of(st.none(), st.floats(0.1, 30)),
    ),
    max_size=40,
)


def answered(intended_s: float, done_s: float, documents: int = 10) -> Row:
    return Row(intended_s, intended_s, done_s, documents, 200)


def refused(at_s: float, wait_s: float | None) -> Row:
    return Row(at_s, at_s, at_s, 10, 429, wait_s)


def test_latency_counts_from_the_intended_start() -> None:
    late_client = Row(1.0, 5.0, 6.0, 1, 200)
    assert figures.latencies([late_client]) == [5.0]
    assert figures.lag([late_client])["max_s"] == 4.0


@given(st.lists(st.floats(0, 1e3), max_size=50))
def test_percentiles_are_ordered_and_within_the_values(values: list[float]) -> None:
    spread = figures.spread(values)
    assert spread["count"] == len(values)
    if values:
        assert min(values) <= spread["p50_s"] <= spread["p95_s"] <= spread["p99_s"] <= spread["max_s"] == max(values)


@given(ROWS, st.floats(0.1, 15))
def test_goodput_is_at_most_the_accepted_documents(rows: list[Row], deadline_s: float) -> None:
    good = figures.goodput(rows, deadline_s, 60.0)
    assert 0 <= good <= sum(row.documents for row in rows if row.accepted) / (60.0 - deadline_s) + 1e-9
    assert sum(figures.statuses(rows).values()) == len(rows)


def test_goodput_excludes_late_answers_and_answers_after_the_load() -> None:
    rows = [answered(0, 1.9), answered(2, 3.5), answered(1, 9), answered(9.5, 10.5), refused(2, 1.0)]
    assert figures.goodput(rows, deadline_s=2.0, seconds=10.0) == 10 / 8


def test_throughput_counts_the_time_until_the_last_answer() -> None:
    assert figures.docs_per_s([answered(1, 2), answered(2, 6)]) == 4.0
    assert figures.docs_per_s([refused(1, None)]) == 0.0


@given(ROWS)
def test_actual_wait_lasts_until_earlier_accepted_requests_are_answered(rows: list[Row]) -> None:
    advised, actual = figures.waits(rows)
    refusals = [row for row in rows if row.status == 429 and row.retry_after_s is not None]
    assert list(advised) == [row.retry_after_s for row in refusals]
    for refusal, wait in zip(refusals, actual, strict=True):
        ends = [row.done_s for row in rows if row.accepted and row.sent_s < refusal.done_s]
        assert wait == max([0.0, *(end - refusal.done_s for end in ends)])


def test_refusals_report_statuses_and_accuracy_of_retry_after() -> None:
    rows = [
        answered(0, 10),
        refused(2, 8.0),  # accurate
        refused(5, 9.0),  # 5 s would be accurate: within a factor of 2
        refused(6, 1.0),  # 4 s would be accurate
        refused(11, 1.0),  # nothing was queued any more
        refused(3, None),
        Row(0, 0, 0.5, 10, 503),
        Row(0, 0, 0.5, 10, 0, problem="ReadTimeout"),
    ]
    found = figures.refusals(rows)
    assert found["count"] == 7
    assert found["share"] == 7 / 8
    assert found["statuses"] == {"429": 5, "503": 1, "ReadTimeout": 1}
    assert found["share_429_with_retry_after"] == 4 / 7
    assert found["retry_after"]["told"] == 4
    assert found["retry_after"]["share_within_factor_2"] == 2 / 4
    assert found["retry_after"]["median_ratio"] == 1.0
    assert found["retry_after"]["nothing_was_queued"] == 1
    assert figures.refusals([])["share_429_with_retry_after"] is None


def test_drift_distinguishes_growing_from_constant_memory() -> None:
    minutes = list(np.linspace(0, 10, 40))
    assert figures.drift(minutes, [5.0] * 40) == {"first": 5, "last": 5, "growth": 0, "per_minute": pytest.approx(0)}
    grown = figures.drift(minutes, [100 + 2 * minute for minute in minutes])
    assert grown["per_minute"] == pytest.approx(2)
    assert grown["growth"] > 0.1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "7", "retry-after-ms": "6250"}, 6.25),
        ({"retry-after": "7", "x-retry-after-ms": "6250"}, 6.25),
        ({"retry-after": "7", "retry-after-ms": "soon"}, 7.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_in_milliseconds_takes_precedence(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers) == seconds
