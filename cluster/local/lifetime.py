"""A cluster's beginning and end. What is started is written down first, so that another process can end it."""

from __future__ import annotations

import time

from rich.console import Console

from cluster.local import processes
from cluster.local.host import refuse_unfit
from cluster.local.nodes import environment
from cluster.local.replicas import connected
from cluster.local.state import Machines, StateDirectory
from cluster.local.walkthrough import Tour
from reranker.errors import Unavailable


def up(directory: StateDirectory, console: Console, gpus: int, port: int) -> None:
    """Leaves the cluster running; whatever goes wrong, and Ctrl-C, stops it. Raises Unavailable."""
    if found := running(directory):
        raise Unavailable(f"a cluster runs already at {found.url}: `make cluster-down` stops it")
    directory.remove()
    refuse_unfit(gpus, port)
    started = time.monotonic()
    tour = Tour(directory, console, gpus, port)
    try:
        tour.start()
        with connected(tour.machines.gcs, environment(directory)):
            tour.gpu_nodes_join()
            tour.lose_a_node()
            tour.one_too_many()
    except BaseException:
        with console.status("stopping what was started …"):
            down(directory)
        raise
    took_s = time.monotonic() - started
    console.print(
        f"[bold]The cluster runs[/bold] at {tour.machines.url}; all this took {took_s:.0f} s.", highlight=False
    )


def down(directory: StateDirectory) -> tuple[int, int]:
    """(processes that ran, processes that are left). Killed: in order, Ray takes 10 s and saves nothing."""
    machines = directory.read()
    if machines is None:
        directory.remove()
        return 0, 0
    sessions = [node.session for node in reversed(machines.nodes)]
    ended = processes.kill(sessions)
    left = sum(len(processes.members(session)) for session in sessions)
    directory.remove()
    return ended, left


def running(directory: StateDirectory) -> Machines | None:
    """The cluster, if any process of it is alive."""
    machines = directory.read()
    return machines if machines and any(processes.members(node.session) for node in machines.nodes) else None
