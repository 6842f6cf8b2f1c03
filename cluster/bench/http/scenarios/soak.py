"""Minutes of steady load below the maximum: do memory and latency stay constant?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial

import numpy as np
from matplotlib.figure import SubFigure
from rich.console import Console

from cluster.bench.http import figures, runs
from cluster.bench.http.arrivals import poisson
from cluster.bench.http.context import Bench, Outcome, Scenario
from cluster.bench.http.panels import draw_latencies
from cluster.bench.http.records import Row
from cluster.bench.http.roles import MemorySampler
from cluster.bench.report import Figures, counts, in_mb, in_s, print_table, shown

_DASHES = ("solid", "dashed", "dotted")


def measure(bench: Bench) -> Outcome:
    settings, rows = bench.settings, dict[str, list[Row]]()
    seconds, contenders = settings.seconds_of("soak"), []
    for target in bench.targets:
        rate = settings.rate or (settings.soak_share * bench.unloaded_maximum(target) / bench.mix.mean_documents)
        bench.console.print(f"soak: {target.name}, {rate:.2f} requests/s for {seconds / 60:.1f} minutes")
        arrivals = poisson(rate, seconds, bench.mix, settings.seed)
        sampler = MemorySampler(target.process, min(5.0, seconds / 20)) if target.process else None
        with sampler or nullcontext():
            run = runs.run_arrivals(
                target, bench.texts, arrivals, settings.timeout_s, runs.in_rotation(settings.keys)
            )
        rows[target.name] = run.rows
        series = sampler.series() if sampler else {}
        minutes = sampler.minutes if sampler else []
        contenders.append(
            {
                "name": target.name,
                "latency": figures.spread(figures.latencies(run.rows)),
                "statuses": figures.statuses(run.rows),
                "client_lag": figures.lag(run.rows),
                "minutes": minutes,
                "memory_bytes": series,
                "drift": {role: figures.drift(minutes, values) for role, values in series.items()},
            }
        )
    return Outcome({"contenders": contenders, "seconds": seconds, "mix": str(bench.mix)}, rows)


def report(result: Figures, console: Console) -> None:
    for row in result["contenders"]:
        latency = row["latency"]
        title = (
            f"soak: {row['name']}, {result['seconds'] / 60:.1f} minutes; p50 {in_s(latency['p50_s'])} s, "
            f"p99 {in_s(latency['p99_s'])} s; {counts(row['statuses'])}"
        )
        rows = [
            (
                role,
                in_mb(drift["first"]),
                in_mb(drift["last"]),
                shown(drift["growth"], "+.1%"),
                shown(drift["per_minute"], "+.2f", 1e-6),
            )
            for role, drift in row["drift"].items()
        ]
        print_table(console, title, ("private MB", "first quarter", "last quarter", "growth", "per minute"), rows)


def panels(outcome: Outcome) -> Mapping[str, Callable[[SubFigure], None]]:
    return {"soak: steady load below the maximum": partial(_draw, outcome)}


def _draw(outcome: Outcome, part: SubFigure) -> None:
    memory, latencies = part.subplots(1, 2)
    for place, row in enumerate(outcome.figures["contenders"]):
        for role, values in row["memory_bytes"].items():
            if role != "all":
                line = memory.plot(row["minutes"], np.array(values) / 1e6, linewidth=1.4)[0]
                line.set_linestyle(_DASHES[place % len(_DASHES)])
                line.set_label(f"{role} {row['drift'][role]['growth']:+.1%}")
    memory.set_ylim(bottom=0)
    memory.set_xlabel("minutes")
    memory.set_title("private memory, MB; growth from the first to the last quarter")
    if memory.lines:
        memory.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    for rows in outcome.rows.values():
        draw_latencies(latencies, rows)


SOAK = Scenario(measure, report, panels)
