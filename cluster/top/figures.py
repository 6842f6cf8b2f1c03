"""What two scrapes of an endpoint say: rates, quantiles, states. Pure functions; knows neither HTTP nor a terminal.

A scrape is answered by one gateway, which knows its own requests only; replicas and the model are the same in all.
Rates are of the gateways seen lately, each between its own last two scrapes, and added up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cluster.top.endpoint import Scrape

_FORGET_S = 30.0  # a gateway that was not met for so long may be gone


@dataclass(frozen=True, slots=True)
class Figures:
    """The state of an endpoint. None: not known, or nothing happened between the scrapes.

    seconds: between the scrapes. gateways_seen: whose requests are in the figures. refused_per_s: status 429,
    failed_per_s: 5xx. request_*, queue_wait_*: quantiles of answers with status 2xx, and of shards. device_busy: of
    the time of all scorers. queued_pairs: the queued tokens over the mean length of a scored pair.
    """

    seconds: float | None
    gateways_seen: int
    gateways_running: int | None
    gateways_wanted: int | None
    scorers_running: int | None
    scorers_wanted: int | None
    in_progress: int
    queued_tokens: int
    queued_pairs: int | None
    queue_limit_tokens: int | None
    requests_per_s: float | None
    refused_per_s: float | None
    failed_per_s: float | None
    pairs_per_s: float | None
    tokens_per_s: float | None
    retries_per_s: float | None
    request_p50_s: float | None
    request_p99_s: float | None
    queue_wait_p50_s: float | None
    queue_wait_p99_s: float | None
    batch_fill: float | None
    device_busy: float | None
    fidelity_verified: bool | None


class History:
    """The last two scrapes of each gateway."""

    def __init__(self) -> None:
        self._pairs: dict[str, tuple[Scrape | None, Scrape]] = {}
        self._last: Scrape | None = None

    def add(self, scrape: Scrape) -> None:
        self._last = scrape
        before = self._pairs.get(scrape.gateway)
        self._pairs[scrape.gateway] = (before and before[1], scrape)
        self._pairs = {name: pair for name, pair in self._pairs.items() if scrape.at - pair[1].at < _FORGET_S}

    @property
    def has_rates(self) -> bool:
        return any(before is not None for before, _ in self._pairs.values())

    def figures(self) -> Figures:
        """Raises ValueError before the first scrape."""
        if self._last is None:
            raise ValueError("nothing was scraped yet")
        return figures(self._last, list(self._pairs.values()))


def figures(last: Scrape, gateways: Sequence[tuple[Scrape | None, Scrape]]) -> Figures:
    """last: the newest scrape, one of those of the gateways: the last two of each, the older one may be missing."""
    spans = [(before, after) for before, after in gateways if before is not None and after.at > before.at]

    def rate(name: str, **labels: str) -> float | None:
        return _added(_grown(before, after, name, **labels) / (after.at - before.at) for before, after in spans)

    def now(name: str) -> float:
        return _added(_known(after.total(name)) or 0.0 for _, after in gateways) or 0.0

    def quantiles(name: str, **labels: str) -> tuple[float | None, float | None]:
        buckets = _buckets(spans, name, **labels)
        return quantile(buckets, 0.5), quantile(buckets, 0.99)

    pairs, tokens = now("reranker_pairs_total"), now("reranker_tokens_total")
    queued = now("reranker_queued_tokens")
    scorers = _count(last.total("reranker_replicas_running", role="scorer"))
    device = rate("reranker_device_seconds_total")
    fills = _added(_grown(*span, "reranker_batch_fill_ratio_count") for span in spans)
    filled = _added(_grown(*span, "reranker_batch_fill_ratio_sum") for span in spans)
    request_p50, request_p99 = quantiles("reranker_request_duration_seconds", status_class="2xx")
    wait_p50, wait_p99 = quantiles("reranker_queue_wait_seconds")
    verified = _known(last.total("reranker_fidelity_verified"))
    return Figures(
        seconds=max((after.at - before.at for before, after in spans), default=None),
        gateways_seen=len(gateways),
        gateways_running=_count(last.total("reranker_replicas_running", role="gateway")),
        gateways_wanted=_count(last.total("reranker_replicas_wanted", role="gateway")),
        scorers_running=scorers,
        scorers_wanted=_count(last.total("reranker_replicas_wanted", role="scorer")),
        in_progress=int(now("reranker_requests_in_progress")),
        queued_tokens=int(queued),
        queued_pairs=round(queued * pairs / tokens) if tokens else (None if queued else 0),
        queue_limit_tokens=_count(
            _added(_known(after.total("reranker_queue_limit_tokens")) for _, after in gateways)
        ),
        requests_per_s=rate("reranker_requests_total"),
        refused_per_s=rate("reranker_requests_total", status="429"),
        failed_per_s=_failed(spans),
        pairs_per_s=rate("reranker_pairs_total"),
        tokens_per_s=rate("reranker_tokens_total"),
        retries_per_s=rate("reranker_shard_retries_total"),
        request_p50_s=request_p50,
        request_p99_s=request_p99,
        queue_wait_p50_s=wait_p50,
        queue_wait_p99_s=wait_p99,
        batch_fill=filled / fills if filled is not None and fills else None,
        device_busy=device / scorers if device is not None and scorers else None,
        fidelity_verified=None if verified is None else bool(verified),
    )


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """As Prometheus' histogram_quantile: linear within a bucket, its lower end where it has no upper one.

    buckets: upper bound and cumulative count, by bound. None if nothing was counted.
    """
    total = buckets[-1][1] if buckets else 0.0
    if not total:
        return None
    lower, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= share * total:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (share * total - below) / (count - below) if count > below else bound
        lower, below = bound, count
    return lower


_Span = tuple[Scrape, Scrape]


def _grown(before: Scrape, after: Scrape, name: str, **labels: str) -> float:
    return max(0.0, (after.total(name, **labels) or 0.0) - (before.total(name, **labels) or 0.0))


def _failed(spans: Sequence[_Span]) -> float | None:
    name = "reranker_requests_total"
    statuses = {dict(labels)["status"] for _, after in spans for labels in after.values.get(name, {})}
    failed = [status for status in statuses if status.startswith("5")]
    return _added(
        sum(_grown(before, after, name, status=status) for status in failed) / (after.at - before.at)
        for before, after in spans
    )


def _buckets(spans: Sequence[_Span], name: str, **labels: str) -> list[tuple[float, float]]:
    bounds = {dict(found)["le"] for _, after in spans for found in after.values.get(f"{name}_bucket", {})}

    def count(le: str) -> float:
        wanted = labels | {"le": le}
        return sum(_grown(before, after, f"{name}_bucket", **wanted) for before, after in spans)

    return sorted((float(le), count(le)) for le in bounds)


def _added(values: Iterable[float | None]) -> float | None:
    """The sum of those that are known, None if there are none."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _count(value: float | None) -> int | None:
    return None if _known(value) is None else int(value or 0)
