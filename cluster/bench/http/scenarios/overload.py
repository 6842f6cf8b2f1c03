"""Much more load than the server can serve: is its throughput kept, and are the refusals' Retry-After accurate?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from rich.console import Console

from cluster.bench.http import figures, runs
from cluster.bench.http.arrivals import poisson
from cluster.bench.http.context import Bench, Outcome, Scenario
from cluster.bench.http.panels import by_answer, draw_latencies
from cluster.bench.http.records import Row
from cluster.bench.picture import GREEN, GREY, ORANGE, dashed_line
from cluster.bench.report import Figures, counts, in_ms, in_s, percent, print_table, times

_MAX_BARS = 30


def measure(bench: Bench) -> Outcome:
    settings, rows = bench.settings, dict[str, list[Row]]()
    seconds, contenders = settings.seconds_of("overload"), []
    for target in bench.targets:
        maximum = bench.unloaded_maximum(target)
        rate = settings.rate or settings.factor * maximum / bench.mix.mean_documents
        bench.console.print(f"overload: {target.name}, {rate:.1f} requests/s for {seconds:.0f} s")
        arrivals = poisson(rate, seconds, bench.mix, settings.seed)
        run = runs.run_arrivals(target, bench.texts, arrivals, settings.timeout_s, runs.in_rotation(settings.keys))
        rows[target.name] = run.rows
        good = figures.goodput(run.rows, settings.in_time_s, seconds)
        contenders.append(
            {
                "name": target.name,
                "unloaded_docs_per_s": maximum,
                "offered_docs_per_s": sum(row.documents for row in run.rows) / seconds,
                "goodput_docs_per_s": good,
                "goodput_share": good / maximum,
                "accepted": figures.spread(figures.latencies(run.rows)),
                "refused": figures.refusals(run.rows),
                "statuses": figures.statuses(run.rows),
                "client_lag": figures.lag(run.rows),
                "client_cpu_s_a_request": run.client_cpu_s,
            }
        )
    load = {"seconds": seconds, "factor": settings.factor, "mix": str(bench.mix), "in_time_s": settings.in_time_s}
    return Outcome({"contenders": contenders, **load}, rows)


def _p50_p99(spread: Figures, cell: Callable[[float | None], str]) -> str:
    return f"{cell(spread['p50_s'])} / {cell(spread['p99_s'])}"


_LINES: Mapping[str, Callable[[Figures], str]] = {
    "unloaded maximum, docs/s": lambda row: f"{row['unloaded_docs_per_s']:.1f}",
    "offered, docs/s": lambda row: f"{row['offered_docs_per_s']:.1f}",
    "goodput, docs/s": lambda row: f"{row['goodput_docs_per_s']:.1f}",
    "goodput / unloaded maximum": lambda row: percent(row["goodput_share"]),
    "accepted p50 / p99, s": lambda row: _p50_p99(row["accepted"], in_s),
    "answers": lambda row: counts(row["statuses"]),
    "refusals with 429 and Retry-After": lambda row: percent(row["refused"]["share_429_with_retry_after"]),
    "refusal p50 / p99, ms": lambda row: _p50_p99(row["refused"]["latency"], in_ms),
    "refusal p50 / p99 from sending, ms": lambda row: _p50_p99(row["refused"]["latency_from_sent"], in_ms),
    "Retry-After within a factor of 2": lambda row: percent(row["refused"]["retry_after"]["share_within_factor_2"]),
    "Retry-After / actual wait, median": lambda row: times(row["refused"]["retry_after"]["median_ratio"]),
    "client lag p50 / p99, ms": lambda row: _p50_p99(row["client_lag"], in_ms),
}


def report(result: Figures, console: Console) -> None:
    contenders = result["contenders"]
    rows = [(label, *(cell(row) for row in contenders)) for label, cell in _LINES.items()]
    title = f"overload: {result['seconds']:.0f} s of {result['mix']} documents, deadline {result['in_time_s']:g} s"
    print_table(console, title, ("", *(row["name"] for row in contenders)), rows)


def panels(outcome: Outcome) -> Mapping[str, Callable[[SubFigure], None]]:
    return {f"overload: {row['name']}": partial(_draw, outcome, row) for row in outcome.figures["contenders"]}


def _draw(outcome: Outcome, row: Figures, part: SubFigure) -> None:
    rows = outcome.rows[row["name"]]
    rates, latencies, waits = part.subplots(1, 3)
    _draw_rates(rates, rows, outcome.figures["seconds"], row["unloaded_docs_per_s"])
    draw_latencies(latencies, rows, outcome.figures["in_time_s"])
    _draw_waits(waits, rows)


def _draw_rates(axes: Axes, rows: Sequence[Row], seconds: float, maximum: float) -> None:
    """Documents/s over time: offered, and how they were answered."""
    bins = np.linspace(0, seconds, min(_MAX_BARS, max(2, int(seconds))) + 1)
    width = bins[1] - bins[0]
    bottom = np.zeros(len(bins) - 1)
    for label, colour, some in by_answer(rows):
        heights = _rate([row.done_s for row in some], some, bins)
        if heights.any():
            axes.bar(bins[:-1], heights, width * 0.9, bottom=bottom, align="edge", color=colour, label=label)
        bottom += heights
    offered = _rate([row.intended_s for row in rows], rows, bins)
    axes.stairs(offered, bins, color=GREY, linewidth=1.2, label="offered")
    dashed_line(axes, maximum, label="unloaded maximum")
    axes.set_xlabel("s")
    axes.set_ylim(0, max(float(offered.max()), float(bottom.max()), maximum) * 1.35)
    axes.set_title("documents/s")
    axes.legend(ncols=3, loc="upper left", columnspacing=1, handlelength=1.2)


def _rate(times_s: Sequence[float], rows: Sequence[Row], bins: figures.Values) -> figures.Values:
    """Documents/s in each bin."""
    documents, _ = np.histogram(times_s, bins, weights=[row.documents for row in rows])
    return np.asarray(documents / np.diff(bins), dtype=np.float64)


def _draw_waits(axes: Axes, rows: Sequence[Row]) -> None:
    advised, actual = figures.waits(rows)
    axes.set_title("Retry-After, s; green: within a factor of 2")
    if not len(advised):
        axes.text(0.5, 0.5, "no refusal had Retry-After", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    limit = float(max(advised.max(), actual.max())) * 1.1
    line = np.array([0.0, limit])
    low, high = line / figures.ACCURATE_WITHIN, line * figures.ACCURATE_WITHIN
    axes.fill_between(line, low, high, color=GREEN, alpha=0.12, linewidth=0)
    axes.plot(line, line, color=GREEN, linewidth=1)
    axes.plot(actual, advised, ".", color=ORANGE, markersize=3, alpha=0.4)
    axes.set_xlim(0, limit)
    axes.set_ylim(0, limit)
    axes.set_xlabel("actual wait until the queue was served, s")


OVERLOAD = Scenario(measure, report, panels)
