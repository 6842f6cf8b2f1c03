"""`reranker cluster`: start, show and stop a head, GPU nodes and the production graph on this machine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

cluster = typer.Typer(
    help="A cluster on this machine: a head, GPU nodes and the production graph.", no_args_is_help=True
)


@cluster.command()
def up(
    gpus: Annotated[int, typer.Option(min=1, max=16, help="Number of GPU nodes, with one GPU each.")] = 4,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the graph on 127.0.0.1.")] = 8000,
) -> None:
    """Start a head and GPU nodes, and deploy serve_config.yaml with a small Llama on CPUs.

    Shows one replica on each GPU; a replica that moves to another node when its own is killed while a client sends
    requests; and why one replica more than there are GPUs has to wait. The cluster keeps running.
    """
    from rich.console import Console

    from cluster.local import lifecycle
    from cluster.local.state import StateDirectory

    console = Console(file=sys.stdout)
    lifecycle.up(StateDirectory(), console, gpus, port)
    console.print(
        f"""
  curl -s http://127.0.0.1:{port}/v2/rerank -H 'content-type: application/json' \\
    -d '{{"query": "high tide", "documents": ["Bread rises.", "A tide table."]}}'
  reranker cluster status    show where each replica runs
  reranker cluster down      stop the cluster; or make cluster-down""",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@cluster.command()
def status() -> None:
    """Show where each replica runs, and why a replica waits."""
    from rich.console import Console

    from cluster.local import lifecycle
    from cluster.local.deployment import SCORER
    from cluster.local.nodes import environment
    from cluster.local.replicas import connected, take_snapshot
    from cluster.local.state import StateDirectory
    from cluster.local.tables import nodes_table
    from reranker.errors import Unavailable

    directory = StateDirectory()
    running = lifecycle.running(directory)
    if running is None:
        raise Unavailable("no cluster is running: start one with `make cluster`")
    console = Console(file=sys.stdout)
    with connected(running.gcs, environment(directory)):
        now = take_snapshot()
    console.print(nodes_table(running, now, running.url))
    if message := now[SCORER].message:
        console.print(f"Scorer: {message}", markup=False, highlight=False)


@cluster.command()
def down() -> None:
    """Stop every process of the cluster and remove its files."""
    from rich.console import Console

    from cluster.local import lifecycle
    from cluster.local.state import StateDirectory

    console = Console(file=sys.stdout)
    directory = StateDirectory()
    with console.status("stopping the cluster …"):
        killed, left = lifecycle.down(directory)
    console.print(
        f"{killed} processes stopped, {left} still running." if killed else "No cluster is running.", highlight=False
    )
    if left:
        raise typer.Exit(1)
