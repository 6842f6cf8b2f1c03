"""`reranker bench autoscale`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli.options import Json, reported

if TYPE_CHECKING:
    from rich.console import Console

TRACES = "step,wave,burst,herd"


def autoscale(
    replicas: Annotated[
        int, typer.Option(min=1, max=10_000, help="That the peak of a trace keeps busy; four times as many at most.")
    ] = 100,
    traces: Annotated[
        str, typer.Option(help="Any of step, wave, burst, herd and zero, with commas; '' for none.")
    ] = TRACES,
    startup_s: Annotated[float, typer.Option(min=0, help="From the order of a replica to its first batch.")] = 60.0,
    target_wait_s: Annotated[float, typer.Option(min=0.1, help="Longest wait wanted, as target_queue_wait_s.")] = 2.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the traces and arrivals.")] = 0,
    picture: Annotated[Path | None, typer.Option(help="Draw the simulated runs into this PNG.")] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Also a real Serve here, with scorers that sleep: 2 to 3 minutes a run.")
    ] = False,
    live_traces: Annotated[
        str, typer.Option(help="The same for --live; zero goes to no replica and back.")
    ] = f"{TRACES},zero",
    live_s: Annotated[int, typer.Option(min=20, help="Seconds of a live trace.")] = 75,
    json_path: Json = None,
) -> None:
    """How long does work wait, and for how many replicas? Our policy beside Serve's default, on the same arrivals.

    Simulated second by second, with a start-up time; `--live` replays short traces against a real Serve whose scorers
    sleep for the device's time.

    Example: `reranker bench autoscale --replicas 10000 --picture autoscale.png`
    """
    from cluster.bench.autoscale.live import LiveSettings, measure_live
    from cluster.bench.autoscale.measure import figures_of, simulate_all
    from cluster.bench.autoscale.report import print_live, print_simulated
    from cluster.bench.autoscale.simulation import World
    from cluster.bench.autoscale.traces import SHAPES
    from cluster.cli.options import names_in
    from reranker.scheduling.autoscaling import AutoscalingSettings

    simulated, replayed = names_in("--traces", traces, SHAPES), names_in("--live-traces", live_traces, SHAPES)
    world = World(peak_replicas=replicas, startup_s=startup_s, seed=seed)
    settings = AutoscalingSettings(target_queue_wait_s=target_wait_s, startup_s=startup_s)

    def measure(console: Console) -> dict[str, Any]:
        result: dict[str, Any] = {"replicas": replicas, "seed": seed, "settings": settings.model_dump()}
        if simulated:
            results = simulate_all(simulated, world, settings, console.print)
            title = f"peak of {replicas:,} replicas, {startup_s:g} s to start one, target wait {target_wait_s:g} s"
            print_simulated(results, title, console)
            result["simulated"] = figures_of(results)
            if picture is not None:
                from cluster.bench.autoscale.picture import draw

                draw(results, settings.target_queue_wait_s, picture)
                console.print(f"drawn: {picture}")
        if live:
            result["live"] = measure_live(replayed, LiveSettings(length_s=live_s, seed=seed), console.print)
            print_live(result["live"], console)
        return result

    reported(measure, json_path)
