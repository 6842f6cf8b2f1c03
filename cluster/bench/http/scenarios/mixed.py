"""Does a request of 10 documents wait for one of 1,000? Small requests alone, then while large ones run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial

from matplotlib.figure import SubFigure
from rich.console import Console

from cluster.bench.http import figures, runs
from cluster.bench.http.arrivals import Mix, poisson
from cluster.bench.http.context import WARM_UP, Bench, Outcome, Scenario, p50_of, refuse_failing
from cluster.bench.http.panels import draw_tail
from cluster.bench.http.records import Row
from cluster.bench.picture import contender_colour, dashed_line
from cluster.bench.report import Figures, counts, in_s, print_table, times

_SMALL_LOAD = 0.1


def measure(bench: Bench) -> Outcome:
    settings, texts = bench.settings, bench.texts
    small, large, seconds = settings.small_documents, settings.large_documents, settings.seconds_of("mixed")
    texts.prepare(small)
    texts.prepare(large)
    alone, mixed = defaultdict[str, list[Row]](list), defaultdict[str, list[Row]](list)
    background = defaultdict[str, list[Row]](list)
    for number in range(settings.rounds):
        for target in bench.shuffled_targets("mixed", number):
            run = runs.run_sequential(target, texts, WARM_UP + settings.requests // 2, small, settings.timeout_s)
            refuse_failing(target, run.rows)
            alone[target.name] += run.rows[WARM_UP:]
            # A low rate, so that small requests wait for large ones and not for each other.
            rate = _SMALL_LOAD / p50_of(run.rows)
            arrivals = poisson(rate, seconds, Mix((small,), (1.0,)), settings.seed + number)
            run, larges = runs.run_with_background(
                target, texts, arrivals, settings.large_clients, large, settings.timeout_s
            )
            mixed[target.name] += run.rows
            background[target.name] += larges
    contenders = []
    for target in bench.targets:
        spread_alone = figures.spread(figures.latencies(alone[target.name]))
        spread_mixed = figures.spread(figures.latencies(mixed[target.name]))
        contenders.append(
            {
                "name": target.name,
                "lone": spread_alone,
                "beside": spread_mixed,
                "p99_over_lone_p50": figures.over(spread_mixed["p99_s"], spread_alone["p50_s"]),
                "p99_over_lone_p99": figures.over(spread_mixed["p99_s"], spread_alone["p99_s"]),
                "statuses": figures.statuses(mixed[target.name]),
                "large": figures.spread(figures.latencies(background[target.name])),
                "large_statuses": figures.statuses(background[target.name]),
                "client_lag": figures.lag(mixed[target.name]),
            }
        )
    sizes = {"small_documents": small, "large_documents": large, "large_clients": settings.large_clients}
    return Outcome({"contenders": contenders, **sizes, "seconds": seconds}, bench.in_order(mixed))


def report(result: Figures, console: Console) -> None:
    rows = [
        (
            row["name"],
            *(in_s(row["lone"][key]) for key in ("p50_s", "p99_s")),
            *(in_s(row["beside"][key]) for key in ("p50_s", "p95_s", "p99_s")),
            times(row["p99_over_lone_p50"]),
            counts(row["statuses"]),
            in_s(row["large"]["p50_s"]),
        )
        for row in result["contenders"]
    ]
    title = (
        f"mixed: latency in s of requests with {result['small_documents']} documents, alone and while "
        f"{result['large_clients']} clients send {result['large_documents']:,}"
    )
    columns = ("", "alone p50", "p99", "mixed p50", "p95", "p99", "p99 / alone p50", "answers", "large p50")
    print_table(console, title, columns, rows)


def panels(outcome: Outcome) -> Mapping[str, Callable[[SubFigure], None]]:
    return {"mixed: small requests while large ones run": partial(_draw, outcome)}


def _draw(outcome: Outcome, part: SubFigure) -> None:
    over_time, tail = part.subplots(1, 2)
    for place, (name, rows) in enumerate(outcome.rows.items()):
        accepted = [row for row in rows if row.accepted]
        points = ([row.intended_s for row in accepted], [row.latency_s for row in accepted])
        over_time.plot(*points, ".", color=contender_colour(place), markersize=4, alpha=0.6, label=name)
    for place, row in enumerate(outcome.figures["contenders"]):
        if row["lone"]["p50_s"]:
            dashed_line(over_time, row["lone"]["p50_s"], colour=contender_colour(place))
    over_time.set_ylim(0, over_time.get_ylim()[1] * 1.2)  # room for the legend
    over_time.set_xlabel("intended start, s")
    over_time.set_title("latency of small requests, s; dashed: median alone")
    over_time.legend()
    draw_tail(tail, outcome.rows, "s", 1.0)


MIXED = Scenario(measure, report, panels)
