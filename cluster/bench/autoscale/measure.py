"""Simulate every trace under every policy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.bench.autoscale.figures import Figures, figures
from cluster.bench.autoscale.policies import contenders
from cluster.bench.autoscale.simulation import Run, Series, World, simulate
from cluster.bench.autoscale.traces import Trace, make_trace
from reranker.scheduling.autoscaling import AutoscalingSettings

_MAX_OVER_PEAK = 4  # max replicas of every policy, over those that the peak keeps busy


@dataclass(frozen=True, slots=True)
class Simulated:
    """One trace, and its run under each policy by name."""

    trace: Trace
    ideal: Series
    runs: dict[str, Run]
    figures: list[Figures]


def simulate_all(
    names: Sequence[str], world: World, settings: AutoscalingSettings, progress: Callable[[str], None]
) -> list[Simulated]:
    results = []
    for name in names:
        trace = make_trace(name, world.seed)
        ideal = world.ideal_replicas(trace)
        runs: dict[str, Run] = {}
        for policy in contenders(settings, 1, _MAX_OVER_PEAK * world.peak_replicas):
            started = time.perf_counter()
            runs[policy.name] = simulate(trace, policy, world)
            progress(f"{name}, {policy.name}: {len(trace.rates):,} s in {time.perf_counter() - started:.1f} s")
        rows = [figures(name, policy, run, ideal, settings.target_queue_wait_s) for policy, run in runs.items()]
        results.append(Simulated(trace, ideal, runs, rows))
    return results


def figures_of(results: Sequence[Simulated]) -> list[dict[str, Any]]:
    return [row.to_json() for result in results for row in result.figures]
