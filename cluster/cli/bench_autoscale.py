"""`reranker bench autoscale`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli.options import Json, names_in, reported
from reranker.scheduling.autoscaling import AutoscalingSettings

if TYPE_CHECKING:
    from rich.console import Console

_TRACES = "step,wave,burst,herd"
_SIMULATION, _LIVE = "Simulation", "Live runs"


def autoscale(
    traces: Annotated[
        str,
        typer.Option(
            help="Comma-separated shapes of load: any of step, wave, burst, herd and zero; '' skips the simulation.",
            rich_help_panel=_SIMULATION,
        ),
    ] = _TRACES,
    replicas: Annotated[
        int,
        typer.Option(
            min=1,
            max=10_000,
            help="Replicas that the peak of a trace keeps busy; a policy may request four times as many.",
            rich_help_panel=_SIMULATION,
        ),
    ] = 100,
    startup_s: Annotated[
        float,
        typer.Option(min=0, help="Time until a requested replica computes.", rich_help_panel=_SIMULATION),
    ] = 60.0,
    target_wait_s: Annotated[
        float,
        typer.Option(
            min=0.1, help="Target wait in the queue: our policy's target_queue_wait_s.", rich_help_panel=_SIMULATION
        ),
    ] = 2.0,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the simulated runs into this PNG file.", rich_help_panel=_SIMULATION)
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Also run short traces on a real Serve on this machine, two to three minutes per run.",
            rich_help_panel=_LIVE,
        ),
    ] = False,
    live_traces: Annotated[
        str,
        typer.Option(
            help="Comma-separated shapes of load of the live runs; zero scales to no replica and back.",
            rich_help_panel=_LIVE,
        ),
    ] = f"{_TRACES},zero",
    live_s: Annotated[
        int, typer.Option(min=20, help="Length of a live trace in seconds.", rich_help_panel=_LIVE)
    ] = 75,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the traces and the arrivals.")] = 0,
    json_path: Json = None,
) -> None:
    """Compare our autoscaling policy with Serve's default: how long work waits, and how many replicas it costs.

    Both get the same arrivals, in a simulation with steps of one second. With --live, both also run on a real Serve
    whose scorers sleep as long as a GPU would take.

    Example: `reranker bench autoscale --replicas 10000 --picture autoscale.png`
    """
    from cluster.bench.autoscale.live import LiveSettings, measure_live
    from cluster.bench.autoscale.measure import figures_of, simulate_all
    from cluster.bench.autoscale.report import print_live, print_simulated
    from cluster.bench.autoscale.simulation import World
    from cluster.bench.autoscale.traces import SHAPES

    simulated, replayed = names_in("--traces", traces, SHAPES), names_in("--live-traces", live_traces, SHAPES)
    world = World(peak_replicas=replicas, startup_s=startup_s, seed=seed)
    settings = AutoscalingSettings(target_queue_wait_s=target_wait_s, startup_s=startup_s)

    def measure(console: Console) -> dict[str, Any]:
        result: dict[str, Any] = {"replicas": replicas, "seed": seed, "settings": settings.model_dump()}
        if simulated:
            results = simulate_all(simulated, world, settings, console.print)
            title = f"peak of {replicas:,} replicas, {startup_s:g} s startup, target wait {target_wait_s:g} s"
            print_simulated(results, title, console)
            result["simulated"] = figures_of(results)
            if picture is not None:
                from cluster.bench.autoscale.picture import draw

                draw(results, settings.target_queue_wait_s, picture)
                console.print(f"picture: {picture}", markup=False)
        if live:
            result["live"] = measure_live(replayed, LiveSettings(length_s=live_s, seed=seed), console.print)
            print_live(result["live"], console)
        return result

    reported(measure, json_path)
