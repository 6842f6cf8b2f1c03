"""How much of the engine's throughput the server keeps: many clients, compared with the engine alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from itertools import cycle
from statistics import median

from matplotlib.figure import SubFigure
from rich.console import Console

from cluster.bench.http import figures, runs
from cluster.bench.http.context import ENGINE, Bench, Outcome, Scenario, refuse_failing
from cluster.bench.http.engine_baseline import EngineBaseline
from cluster.bench.http.panels import draw_tail, print_cpu
from cluster.bench.http.records import Row
from cluster.bench.http.roles import CpuMeter
from cluster.bench.http.texts import Texts
from cluster.bench.picture import GREY, INK, contender_colour, draw_bars
from cluster.bench.report import Figures, counts, in_s, median_ratio, medians, percent, print_table


def measure(bench: Bench) -> Outcome:
    settings, texts, size = bench.settings, bench.texts, bench.settings.documents
    seconds, rows = settings.seconds_of("throughput"), defaultdict[str, list[Row]](list)
    rates = defaultdict[str, list[float]](list)
    cpu = defaultdict[str, list[dict[str, float]]](list)
    texts.prepare(size)
    for number in range(settings.rounds):
        for target in bench.shuffled_targets("throughput", number):
            meter = CpuMeter(target.process)
            run = runs.run_clients(target, texts, settings.clients, cycle([size]), seconds, settings.timeout_s)
            cpu[target.name].append(meter.read(len(run.rows)))
            refuse_failing(target, run.rows)
            rows[target.name] += run.rows
            rates[target.name].append(figures.docs_per_s(run.rows))
        if bench.engine:
            rates[ENGINE].append(_engine_docs_per_s(bench.engine, texts, size, seconds / 2))
    contenders = [
        {
            "name": target.name,
            "docs_per_s": median(rates[target.name]),
            "share_of_engine": median_ratio(rates[target.name], rates[ENGINE]),
            "latency": figures.spread(figures.latencies(rows[target.name])),
            "statuses": figures.statuses(rows[target.name]),
            "rounds": rates[target.name],
            "cpu_s_a_request": medians(cpu[target.name]),
        }
        for target in bench.targets
    ]
    engine = {"docs_per_s": median(rates[ENGINE]), "rounds": rates[ENGINE]} if bench.engine else None
    load = {"clients": settings.clients, "documents": size, "seconds": seconds}
    return Outcome({"contenders": contenders, "engine": engine, **load}, bench.in_order(rows))


def _engine_docs_per_s(engine: EngineBaseline, texts: Texts, size: int, seconds: float) -> float:
    """Documents/s of scoring alone, because the graph tokenizes in another process meanwhile."""
    scored, spent = 0, 0.0
    engine.rerank(texts.query(), texts.block(size).documents)
    while spent < seconds:
        spent += engine.rerank(texts.query(), texts.block(size).documents).scoring_s
        scored += size
    return scored / spent


def report(result: Figures, console: Console) -> None:
    rows: list[tuple[str, ...]] = [
        (
            row["name"],
            f"{row['docs_per_s']:.1f}",
            percent(row["share_of_engine"]),
            in_s(row["latency"]["p50_s"]),
            in_s(row["latency"]["p99_s"]),
            counts(row["statuses"]),
        )
        for row in result["contenders"]
    ]
    if engine := result["engine"]:
        rows.append((ENGINE, f"{engine['docs_per_s']:.1f}"))
    title = f"throughput: {result['clients']} clients, {result['documents']} documents per request"
    print_table(console, title, ("", "docs/s", "of engine", "p50, s", "p99, s", "answers"), rows)
    print_cpu(result, console)


def panels(outcome: Outcome) -> Mapping[str, Callable[[SubFigure], None]]:
    return {"throughput: many clients, each with one request at a time": partial(_draw, outcome)}


def _draw(outcome: Outcome, part: SubFigure) -> None:
    bars, tail = part.subplots(1, 2)
    entries = [
        (row["name"], row["docs_per_s"], contender_colour(place), row["rounds"])
        for place, row in enumerate(outcome.figures["contenders"])
    ]
    if engine := outcome.figures["engine"]:
        entries.append((ENGINE, engine["docs_per_s"], GREY, engine["rounds"]))
    labels, values, colours, rounds = zip(*entries, strict=True)
    draw_bars(bars, labels, values, colours)
    for place, rates in enumerate(rounds):
        bars.plot(rates, [place] * len(rates), "o", color=INK, markersize=3)
    bars.set_title("documents/s: median, and each round")
    draw_tail(tail, outcome.rows, "s", 1.0)


THROUGHPUT = Scenario(measure, report, panels)
