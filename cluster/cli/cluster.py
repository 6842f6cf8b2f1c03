"""`reranker cluster`: a head, GPU nodes and the production graph on this machine; manifests of one elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

cluster = typer.Typer(
    help="A cluster on this machine: a head, GPU nodes and the production graph. Manifests for Kubernetes.",
    no_args_is_help=True,
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


@cluster.command()
def manifests(
    image: Annotated[
        str, typer.Option(metavar="NAME:TAG", help="Image of this package, built from its Dockerfile. No `latest`.")
    ],
    gpu: Annotated[
        str, typer.Option(metavar="l4|a10g|a100|h100", help="GPU of the nodes, one scorer on each.")
    ] = "l4",
    config: Annotated[
        Path | None, typer.Option(help="Serve config to deploy; by default the production one, serve_config.yaml.")
    ] = None,
    gateway_class: Annotated[
        str,
        typer.Option(
            help="Class of the Gateway API, for upgrades step by step; with '' an upgrade takes twice the GPUs."
        ),
    ] = "istio",
    weights_source: Annotated[
        str | None, typer.Option(metavar="URL", help="Fetch the weights from this directory of a store, not the hub.")
    ] = None,
    weights_image: Annotated[
        str | None, typer.Option(metavar="NAME:TAG", help="Mount the weights from this OCI image: a hub's cache.")
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Write a batch job, not the service: a directory with queries.jsonl, corpus.jsonl and run.trec.",
        ),
    ] = None,
    batch_output: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Output of the batch job, s3://bucket/prefix; by default on a volume."),
    ] = None,
    batch_gpus: Annotated[int, typer.Option(min=1, max=1000, help="GPUs of the batch job.")] = 1,
    schedule: Annotated[
        str | None, typer.Option(metavar="CRON", help="Run the batch job at these times, as '0 1 * * *'.")
    ] = None,
) -> None:
    """Print manifests of the graph, or of a batch job, for KubeRay on Kubernetes: docs/kubernetes.md.

    Example: `reranker cluster manifests --image registry.example/dear-reranker:1 --gpu l4 > service.yaml`
    """
    from cluster.configs import PRODUCTION
    from cluster.topologies import manifests as written
    from cluster.topologies.choices import Choices
    from reranker.errors import InvalidField

    for option, value in (("schedule", schedule), ("batch-output", batch_output)):
        if value is not None and batch is None:
            raise InvalidField(option, "is of a batch job: give --batch, too")
    choices = Choices(image, gpu, config or PRODUCTION, gateway_class, weights_source, weights_image)
    if batch is None:
        objects = written.service(choices)
    else:
        objects = written.batch(choices, batch, batch_gpus, schedule, batch_output)
    sys.stdout.write(written.to_yaml(objects))
