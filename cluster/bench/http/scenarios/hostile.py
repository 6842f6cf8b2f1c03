"""Does a request of 10 documents wait for clients that send hostile bodies, and how much memory do these take?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial

from matplotlib.figure import SubFigure
from rich.console import Console

from cluster.bench.http import figures, runs
from cluster.bench.http.arrivals import Mix, poisson
from cluster.bench.http.context import WARM_UP, Bench, Outcome, Scenario, p50_of, refuse_failing
from cluster.bench.http.hostile_clients import KINDS, hostile
from cluster.bench.http.panels import draw_tail
from cluster.bench.http.records import Row
from cluster.bench.http.roles import MemorySampler
from cluster.bench.http.targets import Target
from cluster.bench.report import Figures, counts, in_mb, in_s, print_table, times

_SMALL_LOAD = 0.2
_ALONE = "alone"
_MEMORY_PERIOD_S = 0.25
_ROLES = ("gateway", "proxy", "tokenizer")


def measure(bench: Bench) -> Outcome:
    settings = bench.settings
    seconds = settings.seconds_of("hostile") / (1 + len(KINDS))
    bench.texts.prepare(settings.small_documents)
    rows = defaultdict[str, list[Row]](list)
    contenders = []
    for target in bench.targets:
        measured = [_beside(bench, target, kind, seconds) for kind in (_ALONE, *KINDS)]
        lone = figures.spread(figures.latencies(measured[0][0]))
        for kind, (small, answers, memory) in zip((_ALONE, *KINDS), measured, strict=True):
            rows[f"{target.name}, {kind}"] += small
            spread = figures.spread(figures.latencies(small))
            contenders.append(
                {
                    "name": target.name,
                    "beside": kind,
                    "latency": spread,
                    "p99_over_lone_p99": figures.over(spread["p99_s"], lone["p99_s"]),
                    "statuses": figures.statuses(small),
                    "hostile_answers": dict(answers),
                    "peak_memory_bytes": memory,
                    "client_lag": figures.lag(small),
                }
            )
    return Outcome({"contenders": contenders, "documents": settings.small_documents, "seconds": seconds}, dict(rows))


def _beside(
    bench: Bench, target: Target, kind: str, seconds: float
) -> tuple[list[Row], Counter[str], dict[str, float]]:
    """Rows of small requests at a low rate beside such clients, what these were answered, and peak memory by role."""
    settings, texts = bench.settings, bench.texts
    bench.console.print(f"hostile: {target.name}, {KINDS.get(kind, kind)}, {seconds:.0f} s")
    warm = runs.run_sequential(target, texts, 2 * WARM_UP, settings.small_documents, settings.timeout_s)
    refuse_failing(target, warm.rows)
    arrivals = poisson(
        _SMALL_LOAD / p50_of(warm.rows), seconds, Mix((settings.small_documents,), (1.0,)), settings.seed
    )
    sampler = MemorySampler(target.process, _MEMORY_PERIOD_S) if target.process else None
    clients = nullcontext(Counter[str]()) if kind == _ALONE else hostile(target, kind, settings.timeout_s)
    with sampler or nullcontext(), clients as answers:
        run = runs.run_arrivals(target, texts, arrivals, settings.timeout_s)
    memory = {role: max(values) for role, values in sampler.series().items() if role in _ROLES} if sampler else {}
    return run.rows, answers, memory


def report(result: Figures, console: Console) -> None:
    rows = [
        (
            row["name"],
            row["beside"],
            *(in_s(row["latency"][key]) for key in ("p50_s", "p99_s")),
            times(row["p99_over_lone_p99"]),
            counts(row["statuses"]),
            counts(row["hostile_answers"]),
            ", ".join(in_mb(row["peak_memory_bytes"].get(role)) for role in _ROLES),
        )
        for row in result["contenders"]
    ]
    title = f"hostile: latency in s of requests with {result['documents']} documents beside hostile clients"
    columns = ("", "beside", "p50", "p99", "of alone", "answers", "hostile answers", f"peak MB: {', '.join(_ROLES)}")
    print_table(console, title, columns, rows)


def panels(outcome: Outcome) -> Mapping[str, Callable[[SubFigure], None]]:
    return {"hostile: small requests beside hostile clients": partial(_draw, outcome)}


def _draw(outcome: Outcome, part: SubFigure) -> None:
    draw_tail(part.subplots(1, 1), outcome.rows, "s", 1.0)


HOSTILE = Scenario(measure, report, panels)
