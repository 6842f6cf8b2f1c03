"""Figures computed from rows. Pure: no clock, no HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.bench.http.records import TOO_MANY, Row

Values = NDArray[np.float64]
# An advised wait is accurate if it is at least half and at most twice the actual one.
ACCURATE_WITHIN = 2.0


def spread(seconds: Sequence[float] | Values) -> dict[str, Any]:
    """count, p50_s, p95_s, p99_s and max_s; all but the count are None without values."""
    if len(seconds) == 0:
        return {"count": 0, "p50_s": None, "p95_s": None, "p99_s": None, "max_s": None}
    p50, p95, p99 = np.percentile(seconds, (50, 95, 99))
    return {
        "count": len(seconds),
        "p50_s": float(p50),
        "p95_s": float(p95),
        "p99_s": float(p99),
        "max_s": float(np.max(seconds)),
    }


def over(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def latencies(rows: Sequence[Row]) -> list[float]:
    """Latencies of the accepted requests, from their intended start."""
    return [row.latency_s for row in rows if row.accepted]


def statuses(rows: Sequence[Row]) -> dict[str, int]:
    """Number of requests by status; a request without an answer counts under its problem."""
    return dict(sorted(Counter(row.problem or str(row.status) for row in rows).items()))


def lag(rows: Sequence[Row]) -> dict[str, Any]:
    """How late the client sent its requests. The lag is part of every latency here."""
    return spread([row.sent_s - row.intended_s for row in rows])


def docs_per_s(rows: Sequence[Row]) -> float:
    """Accepted documents over the time from the first request to the last answer, for runs that wait for all."""
    accepted = [row for row in rows if row.accepted]
    if not accepted:
        return 0.0
    took = max(row.done_s for row in accepted) - min(row.sent_s for row in rows)
    return sum(row.documents for row in accepted) / took


def goodput(rows: Sequence[Row], deadline_s: float, seconds: float) -> float:
    """Documents/s answered within `deadline_s` of their intended start, in the steady part of the run.

    Not counted: the first `deadline_s` (at most a quarter of the run), in which the queue may still be filling, and
    answers after `seconds`, when no load is offered any more.
    """
    begin = min(deadline_s, seconds / 4)
    good = [row for row in rows if row.accepted and row.latency_s <= deadline_s and begin <= row.done_s <= seconds]
    return sum(row.documents for row in good) / (seconds - begin)


def waits(rows: Sequence[Row]) -> tuple[Values, Values]:
    """(advised, actual) waits in seconds of the refusals that advised one, both (refusals,).

    actual: from the refusal until every accepted request sent before it was answered; 0 if all had been.
    """
    refusals = [row for row in rows if row.status == TOO_MANY and row.retry_after_s is not None]
    advised = np.array([row.retry_after_s for row in refusals], dtype=np.float64)
    refused_at = np.array([row.done_s for row in refusals], dtype=np.float64)
    accepted = sorted((row for row in rows if row.accepted), key=lambda row: row.sent_s)
    sent = np.array([row.sent_s for row in accepted])
    last_answer = np.concatenate(([-np.inf], np.maximum.accumulate([row.done_s for row in accepted])))
    before = np.searchsorted(sent, refused_at, side="left")
    return advised, np.maximum(last_answer[before] - refused_at, 0.0)


def refusals(rows: Sequence[Row]) -> dict[str, Any]:
    """Requests that were not accepted: their statuses and latencies, and the accuracy of Retry-After."""
    refused = [row for row in rows if not row.accepted]
    proper = [row for row in refused if row.status == TOO_MANY and row.retry_after_s is not None]
    advised, actual = waits(rows)
    ratios = advised[actual > 0] / actual[actual > 0]
    accurate = (ratios >= 1 / ACCURATE_WITHIN) & (ratios <= ACCURATE_WITHIN)
    return {
        "count": len(refused),
        "share": len(refused) / len(rows) if rows else 0.0,
        "share_429_with_retry_after": len(proper) / len(refused) if refused else None,
        "statuses": statuses(refused),
        "latency": spread([row.latency_s for row in refused]),
        "latency_from_sent": spread([row.done_s - row.sent_s for row in refused]),
        "retry_after": {
            "told": len(advised),
            "share_within_factor_2": float(accurate.sum() / len(advised)) if len(advised) else None,
            "median_ratio": float(np.median(ratios)) if len(ratios) else None,
            "nothing_was_queued": int((actual == 0).sum()),
            "told_s": spread(advised),
            "true_s": spread(actual),
        },
    }


def drift(minutes: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    """Growth of a series: medians of its first and last quarter, their relative difference, the slope per minute."""
    quarter = max(1, len(values) // 4)
    first, last = float(np.median(values[:quarter])), float(np.median(values[-quarter:]))
    slope = float(np.polyfit(minutes, values, 1)[0]) if len(set(minutes)) > 1 else 0.0
    return {"first": first, "last": last, "growth": last / first - 1 if first else 0.0, "per_minute": slope}
