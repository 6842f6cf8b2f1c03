"""What the server adds to the engine: one client, one document per request, compared with the engine alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median

import numpy as np
from matplotlib.figure import SubFigure
from rich.console import Console

from cluster.bench.http import figures, runs
from cluster.bench.http.client_baseline import baseline_server
from cluster.bench.http.context import ENGINE, WARM_UP, Bench, Outcome, Scenario, p50_of, refuse_failing
from cluster.bench.http.engine_baseline import Timing
from cluster.bench.http.panels import draw_tail, print_cpu
from cluster.bench.http.records import Row
from cluster.bench.http.roles import CpuMeter
from cluster.bench.http.targets import OURS, Target
from cluster.bench.picture import GREY, contender_colour, draw_bars
from cluster.bench.report import Figures, in_ms, medians, print_table

CLIENT = "client alone"
# GETs that need fewer processes than a rerank: the gateway answers the first itself, the scorer answers the second.
STEPS = ("/v1/models", "/health")


def measure(bench: Bench) -> Outcome:
    settings, texts = bench.settings, bench.texts
    count, timings, rows = settings.requests + WARM_UP, list[list[Timing]](), defaultdict[str, list[Row]](list)
    p50s, cpu = defaultdict[str, list[float]](list), defaultdict[str, list[dict[str, float]]](list)
    client_cpu_s = []
    with baseline_server() as baseline_url:
        baseline = Target(CLIENT, baseline_url, OURS)
        for number in range(settings.rounds):
            for target in [*bench.shuffled_targets("overhead", number), baseline]:
                meter = CpuMeter(target.process)
                run = runs.run_sequential(target, texts, count, 1, settings.timeout_s)
                cpu[target.name].append(meter.read(count))
                refuse_failing(target, run.rows)
                client_cpu_s.append(run.client_cpu_s)
                p50s[target.name].append(p50_of(run.rows))
                if target is baseline:
                    continue
                rows[target.name] += run.rows[WARM_UP:]
                for step in STEPS if target.dialect is OURS else ():
                    gets = runs.run_gets(target, step, count, settings.timeout_s).rows
                    p50s[f"{target.name} {step}"].append(p50_of(gets))
            if bench.engine:
                requests = [(texts.query(), texts.block(1).documents) for _ in range(count)]
                timings.append([bench.engine.rerank(*request) for request in requests][WARM_UP:])
    engine = _engine_p50(timings)
    contenders = []
    for target in bench.targets:
        p50 = median(p50s[target.name])
        contenders.append(
            {
                "name": target.name,
                "p50_s": p50,
                "overhead_s": p50 - engine["p50_s"] if engine else None,
                "pooled": figures.spread(figures.latencies(rows[target.name])),
                "steps_p50_s": {
                    step: median(p50s[key]) for step in STEPS if (key := f"{target.name} {step}") in p50s
                },
                "cpu_s_a_request": medians(cpu[target.name]),
            }
        )
    return Outcome(
        {
            "contenders": contenders,
            "engine": engine,
            "client_alone_p50_s": median(p50s[CLIENT]),
            "client_cpu_s_a_request": median(client_cpu_s),
        },
        bench.in_order(rows),
    )


def _engine_p50(rounds: Sequence[Sequence[Timing]]) -> dict[str, float] | None:
    """Medians over rounds of the medians of each round; None without an engine."""
    if not rounds:
        return None
    return {
        "p50_s": median(median(timing.tokenizing_s + timing.scoring_s for timing in one) for one in rounds),
        "tokenizing_p50_s": median(median(timing.tokenizing_s for timing in one) for one in rounds),
        "scoring_p50_s": median(median(timing.scoring_s for timing in one) for one in rounds),
        "mean_tokens": float(np.mean([timing.tokens for one in rounds for timing in one])),
    }


def report(result: Figures, console: Console) -> None:
    rows = [
        (
            row["name"],
            *map(in_ms, (row["p50_s"], row["overhead_s"], row["pooled"]["p95_s"], row["pooled"]["p99_s"])),
        )
        for row in result["contenders"]
    ]
    if engine := result["engine"]:
        rows.append((ENGINE, in_ms(engine["p50_s"])))
    rows.append((CLIENT, in_ms(result["client_alone_p50_s"])))
    title = "overhead: latency in ms of one client, one document per request"
    print_table(console, title, ("", "p50", "p50 - engine", "p95", "p99"), rows)
    if engine:
        console.print(
            f"{ENGINE}: {in_ms(engine['tokenizing_p50_s'])} ms tokenizing, {in_ms(engine['scoring_p50_s'])} ms "
            f"scoring, {engine['mean_tokens']:.0f} tokens"
        )
    console.print(f"client: {in_ms(result['client_cpu_s_a_request'])} ms of CPU per request")
    for row in result["contenders"]:
        if steps := [f"GET {path} {in_ms(p50)} ms" for path, p50 in row["steps_p50_s"].items()]:
            console.print(f"{row['name']}: {', '.join(steps)}", markup=False)
    print_cpu(result, console)


def panels(outcome: Outcome) -> Mapping[str, Callable[[SubFigure], None]]:
    return {"overhead: one client, one document per request": partial(_draw, outcome)}


def _draw(outcome: Outcome, part: SubFigure) -> None:
    result = outcome.figures
    bars, tail = part.subplots(1, 2)
    entries = [(CLIENT, result["client_alone_p50_s"], GREY)]
    if engine := result["engine"]:
        entries.append((ENGINE, engine["p50_s"], GREY))
    for place, row in enumerate(result["contenders"]):
        pale = contender_colour(place, pale=True)
        entries += [(f"{row['name']}, GET {path}", p50, pale) for path, p50 in row["steps_p50_s"].items()]
        entries.append((f"{row['name']}, rerank", row["p50_s"], contender_colour(place)))
    labels, seconds, colours = zip(*entries, strict=True)
    draw_bars(bars, labels, [1e3 * value for value in seconds], colours)
    bars.set_title("p50, ms")
    draw_tail(tail, outcome.rows, "ms", 1e3)


OVERHEAD = Scenario(measure, report, panels)
