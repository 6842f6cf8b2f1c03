"""Small requests beside large ones: does a 10-document request wait for a 1,000-document one?"""

from __future__ import annotations

from collections import defaultdict

from cluster.bench.http import figures, runs
from cluster.bench.http.arrivals import Mix, poisson
from cluster.bench.http.context import WARM_UP, Bench, Outcome, check, p50_of
from cluster.bench.http.records import Row


def mixed(bench: Bench) -> Outcome:
    """Small requests, first with the server to themselves, then beside large ones that never stop coming."""
    settings, texts = bench.settings, bench.texts
    small, large, seconds = settings.small_documents, settings.large_documents, settings.seconds_of("mixed")
    texts.prepare(small)
    texts.prepare(large)
    lone, beside = defaultdict[str, list[Row]](list), defaultdict[str, list[Row]](list)
    others = defaultdict[str, list[Row]](list)
    for number in range(settings.rounds):
        for target in bench.turns("mixed", number):
            run = runs.run_some(target, texts, WARM_UP + settings.requests // 2, small, settings.timeout_s)
            check(target, run.rows)
            lone[target.name] += run.rows[WARM_UP:]
            # A tenth of what the server could do of them alone: they wait for the large ones, not for each other.
            rate = 0.1 / p50_of(run.rows)
            arrivals = poisson(rate, seconds, Mix((small,), (1.0,)), settings.seed + number)
            run, larges = runs.run_beside(target, texts, arrivals, settings.large_clients, large, settings.timeout_s)
            beside[target.name] += run.rows
            others[target.name] += larges
    contenders = []
    for target in bench.targets:
        alone = figures.spread(figures.latencies(lone[target.name]))
        crowded = figures.spread(figures.latencies(beside[target.name]))
        contenders.append(
            {
                "name": target.name,
                "lone": alone,
                "beside": crowded,
                "p99_over_lone_p50": _over(crowded["p99_s"], alone["p50_s"]),
                "p99_over_lone_p99": _over(crowded["p99_s"], alone["p99_s"]),
                "statuses": figures.statuses(beside[target.name]),
                "large": figures.spread(figures.latencies(others[target.name])),
                "large_statuses": figures.statuses(others[target.name]),
                "client_lag": figures.lag(beside[target.name]),
            }
        )
    sizes = {"small_documents": small, "large_documents": large, "large_clients": settings.large_clients}
    return Outcome({"contenders": contenders, **sizes, "seconds": seconds}, bench.in_order(beside))


def _over(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None
