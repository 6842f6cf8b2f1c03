"""What the road costs: one client, one document, beside the engine in a process of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

import numpy as np

from cluster.bench.http import figures, runs
from cluster.bench.http.client_baseline import floor_server
from cluster.bench.http.context import WARM_UP, Bench, Outcome, check, medians, p50_of
from cluster.bench.http.engine_baseline import Took
from cluster.bench.http.peers import OURS, Target
from cluster.bench.http.records import Row
from cluster.bench.http.roles import CpuMeter

# How far a request goes into our graph: the gateway answers the first itself, the second asks the scorer.
STEPS = ("/v1/models", "/health")


def overhead(bench: Bench) -> Outcome:
    """One client, one document: how much longer than in the engine's own process, and how far along the road?"""
    settings, texts = bench.settings, bench.texts
    count, took, rows = settings.requests + WARM_UP, list[list[Took]](), defaultdict[str, list[Row]](list)
    p50s, cpu = defaultdict[str, list[float]](list), defaultdict[str, list[dict[str, float]]](list)
    client_cpu_s = []
    with floor_server() as floor_url:
        floor = Target("the client alone", floor_url, OURS)
        for number in range(settings.rounds):
            for target in [*bench.turns("overhead", number), floor]:
                meter = CpuMeter(target.process)
                run = runs.run_some(target, texts, count, 1, settings.timeout_s)
                cpu[target.name].append(meter.read(count))
                check(target, run.rows)
                client_cpu_s.append(run.client_cpu_s)
                if target is not floor:
                    rows[target.name] += run.rows[WARM_UP:]
                p50s[target.name].append(p50_of(run.rows))
                for step in STEPS if target.dialect is OURS and target is not floor else ():
                    gets = runs.run_gets(target, step, count, settings.timeout_s).rows
                    p50s[f"{target.name} {step}"].append(p50_of(gets))
            if bench.engine:
                asked = [(texts.query(), texts.block(1).documents) for _ in range(count)]
                took.append([bench.engine.rerank(*one) for one in asked][WARM_UP:])
    engine = _engine_p50(took)
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
            "client_alone_p50_s": median(p50s[floor.name]),
            "client_cpu_s_a_request": median(client_cpu_s),
        },
        bench.in_order(rows),
    )


def _engine_p50(rounds: Sequence[Sequence[Took]]) -> dict[str, float] | None:
    """Medians over rounds of the medians within; None where no engine ran."""
    if not rounds:
        return None
    return {
        "p50_s": median(median(took.tokenizing_s + took.scoring_s for took in one) for one in rounds),
        "tokenizing_p50_s": median(median(took.tokenizing_s for took in one) for one in rounds),
        "scoring_p50_s": median(median(took.scoring_s for took in one) for one in rounds),
        "mean_tokens": float(np.mean([took.tokens for one in rounds for took in one])),
    }
