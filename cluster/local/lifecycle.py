"""Start and stop the cluster. Every process is recorded as soon as it starts, so that another command can stop it."""

from __future__ import annotations

import time

from rich.console import Console

from cluster.local import processes
from cluster.local.host import check_host
from cluster.local.nodes import environment
from cluster.local.replicas import connected
from cluster.local.state import ClusterState, StateDirectory
from cluster.local.walkthrough import Walkthrough
from reranker.errors import Unavailable


def up(directory: StateDirectory, console: Console, gpus: int, port: int) -> None:
    """Start a cluster and leave it running; any error, and Ctrl-C, stops it again. Raises Unavailable."""
    if found := running(directory):
        raise Unavailable(f"a cluster is already running at {found.url}: stop it with `make cluster-down`")
    directory.remove()
    check_host(gpus, port)
    started = time.monotonic()
    walkthrough = Walkthrough(directory, console, gpus, port)
    try:
        walkthrough.start()
        with connected(walkthrough.state.gcs, environment(directory)):
            walkthrough.add_gpu_nodes()
            walkthrough.lose_node()
            walkthrough.request_extra_replica()
    except BaseException:
        with console.status("stopping the cluster …"):
            down(directory)
        raise
    took_s = time.monotonic() - started
    console.print(
        f"[bold]The cluster is running[/bold] at {walkthrough.state.url}; all steps took {took_s:.0f} s.",
        highlight=False,
    )


def down(directory: StateDirectory) -> tuple[int, int]:
    """(processes killed, processes still running). Kills, because Ray's own shutdown takes 10 s and saves nothing."""
    state = directory.read()
    if state is None:
        directory.remove()
        return 0, 0
    sessions = [node.session for node in reversed(state.nodes)]
    killed = processes.kill(sessions)
    left = sum(len(processes.members(session)) for session in sessions)
    directory.remove()
    return killed, left


def running(directory: StateDirectory) -> ClusterState | None:
    """The recorded cluster, if any of its processes is alive."""
    state = directory.read()
    return state if state and any(processes.members(node.session) for node in state.nodes) else None
