"""How much of the engine's throughput is left at the end of the road."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import cycle
from statistics import median

from cluster.bench.http import figures, runs
from cluster.bench.http.context import ENGINE, Bench, Outcome, check, medians
from cluster.bench.http.engine_baseline import OwnEngine
from cluster.bench.http.records import Row
from cluster.bench.http.roles import CpuMeter
from cluster.bench.http.texts import Texts


def throughput(bench: Bench) -> Outcome:
    """Many clients that wait for their answers: documents/s, and how much of the engine's own that is."""
    settings, texts, size = bench.settings, bench.texts, bench.settings.documents
    seconds, rows = settings.seconds_of("throughput"), defaultdict[str, list[Row]](list)
    rates = defaultdict[str, list[float]](list)
    cpu = defaultdict[str, list[dict[str, float]]](list)
    texts.prepare(size)
    for number in range(settings.rounds):
        for target in bench.turns("throughput", number):
            meter = CpuMeter(target.process)
            run = runs.run_clients(target, texts, settings.clients, cycle([size]), seconds, settings.timeout_s)
            cpu[target.name].append(meter.read(len(run.rows)))
            check(target, run.rows)
            rows[target.name] += run.rows
            rates[target.name].append(figures.docs_per_s(run.rows))
        if bench.engine:
            rates[ENGINE].append(_engine_docs_per_s(bench.engine, texts, size, seconds / 2))
    contenders = [
        {
            "name": target.name,
            "docs_per_s": median(rates[target.name]),
            "share_of_engine": _ratio(rates[target.name], rates[ENGINE]),
            "latency": figures.spread(figures.latencies(rows[target.name])),
            "statuses": figures.statuses(rows[target.name]),
            "rounds": rates[target.name],
            "cpu_s_a_request": medians(cpu[target.name]),
        }
        for target in bench.targets
    ]
    engine = {"docs_per_s": median(rates[ENGINE]), "rounds": rates[ENGINE]} if bench.engine else None
    return Outcome(
        {
            "contenders": contenders,
            "engine": engine,
            "clients": settings.clients,
            "documents": size,
            "seconds": seconds,
        },
        bench.in_order(rows),
    )


def _engine_docs_per_s(engine: OwnEngine, texts: Texts, size: int, seconds: float) -> float:
    """Scoring alone, request after request: tokenizing is a stage of its own in the graph."""
    scored, spent = 0, 0.0
    engine.rerank(texts.query(), texts.block(size).documents)
    while spent < seconds:
        spent += engine.rerank(texts.query(), texts.block(size).documents).scoring_s
        scored += size
    return scored / spent


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    return median(one / other for one, other in zip(ours, theirs, strict=True)) if theirs else None
