"""One API key sends far more than the server can serve: do the others notice? Alone, then beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import cycle

from matplotlib.figure import SubFigure
from rich.console import Console

from cluster.bench.http import figures, runs
from cluster.bench.http.arrivals import Mix, poisson
from cluster.bench.http.context import Bench, Outcome, Scenario, refuse_failing
from cluster.bench.http.panels import draw_tail
from cluster.bench.http.records import Row
from cluster.bench.report import Figures, counts, in_s, percent, print_table, times

_FLOODING = 0  # number of the key that floods


def measure(bench: Bench) -> Outcome:
    settings, seconds = bench.settings, bench.settings.seconds_of("flood")
    bench.texts.prepare(settings.documents)
    contenders, beside = [], dict[str, list[Row]]()
    for target in bench.targets:
        maximum = bench.unloaded_maximum(target)
        sizes = Mix((settings.documents,), (1.0,))
        rate = settings.flood_share * maximum / settings.documents
        others = poisson(rate, seconds, sizes, settings.seed)
        flood = poisson(settings.factor * maximum / bench.mix.mean_documents, seconds, bench.mix, settings.seed + 1)
        bench.console.print(f"flood: {target.name}, {settings.keys - 1} keys, alone and beside one that floods")
        quiet = cycle(range(1, settings.keys))
        alone = runs.run_arrivals(target, bench.texts, others, settings.timeout_s, quiet).rows
        refuse_failing(target, alone)
        arrivals = sorted(
            [*((arrival, next(quiet)) for arrival in others), *((arrival, _FLOODING) for arrival in flood)],
            key=lambda sent: sent[0].at_s,
        )
        senders = [sender for _, sender in arrivals]
        run = runs.run_arrivals(
            target, bench.texts, [arrival for arrival, _ in arrivals], settings.timeout_s, senders
        )
        of_others = [row for row, sender in zip(run.rows, senders, strict=True) if sender != _FLOODING]
        of_flood = [row for row, sender in zip(run.rows, senders, strict=True) if sender == _FLOODING]
        beside[target.name] = of_others
        spread_alone, spread = (figures.spread(figures.latencies(rows)) for rows in (alone, of_others))
        contenders.append(
            {
                "name": target.name,
                "unloaded_docs_per_s": maximum,
                "alone": spread_alone,
                "beside": spread,
                "p99_over_alone": figures.over(spread["p99_s"], spread_alone["p99_s"]),
                "statuses_alone": figures.statuses(alone),
                "statuses": figures.statuses(of_others),
                "flood_statuses": figures.statuses(of_flood),
                "client_lag": figures.lag(run.rows),
            }
        )
    load = {"share": settings.flood_share, "factor": settings.factor, "documents": settings.documents}
    return Outcome({"contenders": contenders, "keys": settings.keys, "seconds": seconds, **load}, beside)


def report(result: Figures, console: Console) -> None:
    rows = [
        (
            row["name"],
            *(in_s(row["alone"][key]) for key in ("p50_s", "p99_s")),
            *(in_s(row["beside"][key]) for key in ("p50_s", "p99_s")),
            times(row["p99_over_alone"]),
            counts(row["statuses"]),
            counts(row["flood_statuses"]),
            in_s(row["client_lag"]["p99_s"]),
        )
        for row in result["contenders"]
    ]
    title = (
        f"flood: latency in s of {result['documents']} documents by {result['keys'] - 1} keys that load the server "
        f"to {percent(result['share'])}, alone and beside one key that sends {result['factor']:g} times its maximum"
    )
    columns = ("", "alone p50", "p99", "beside p50", "p99", "p99 / alone", "answers", "flood", "client lag p99")
    print_table(console, title, columns, rows)


def panels(outcome: Outcome) -> Mapping[str, Callable[[SubFigure], None]]:
    return {"flood: the other keys' requests": partial(_draw, outcome)}


def _draw(outcome: Outcome, part: SubFigure) -> None:
    draw_tail(part.subplots(1, 1), outcome.rows, "s", 1.0)


FLOOD = Scenario(measure, report, panels)
