"""`reranker cluster`: head, gpus and the production graph on this machine; started, looked at, stopped."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

machines = typer.Typer(help="A cluster on this machine: a head, gpus, the production graph.", no_args_is_help=True)


@machines.command()
def up(
    gpus: Annotated[int, typer.Option(min=1, max=16, help="Nodes with one gpu each.")] = 4,
    port: Annotated[int, typer.Option(min=1, max=65535, help="A free port on 127.0.0.1 for the graph.")] = 8000,
) -> None:
    """Start a head and gpus, deploy serve_config.yaml with a small Llama on CPUs, and lose a node.

    Shows one replica a gpu, how a replica moves when its node is killed while a client asks, and a further one that
    waits for a gpu, and why. Leaves the cluster running.
    """
    from rich.console import Console

    from cluster.local import lifetime
    from cluster.local.state import StateDirectory

    console = Console(file=sys.stdout)
    lifetime.up(StateDirectory(), console, gpus, port)
    console.print(
        f"""
  curl -s http://127.0.0.1:{port}/v2/rerank -H 'content-type: application/json' \\
    -d '{{"query": "high tide", "documents": ["Bread rises.", "A tide table."]}}'
  reranker cluster status    where each replica is
  reranker cluster down      stop it; or make cluster-down""",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@machines.command()
def status() -> None:
    """Where each replica is, and why one waits."""
    from rich.console import Console

    from cluster.local import lifetime
    from cluster.local.deployment import SCORER
    from cluster.local.nodes import environment
    from cluster.local.replicas import connected, look
    from cluster.local.state import StateDirectory
    from cluster.local.tables import nodes_table
    from reranker.errors import Unavailable

    directory = StateDirectory()
    running = lifetime.running(directory)
    if running is None:
        raise Unavailable("no cluster runs here: `make cluster` starts one")
    console = Console(file=sys.stdout)
    with connected(running.gcs, environment(directory)):
        now = look()
    console.print(nodes_table(running, now, running.url))
    if message := now[SCORER].message:
        console.print(f"Scorer: {message}", markup=False, highlight=False)


@machines.command()
def down() -> None:
    """Stop every process of the cluster, and remove its files."""
    from rich.console import Console

    from cluster.local import lifetime
    from cluster.local.state import StateDirectory

    console = Console(file=sys.stdout)
    directory = StateDirectory()
    with console.status("stopping the cluster …"):
        ended, left = lifetime.down(directory)
    console.print(f"{ended} processes ended, {left} left." if ended else "No cluster runs here.", highlight=False)
    if left:
        raise typer.Exit(1)
