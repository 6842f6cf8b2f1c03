"""`reranker demo`: the whole graph on this machine, shown on a small collection."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(port: Annotated[int, typer.Option(min=1, max=65535, help="A free port on 127.0.0.1.")] = 8000) -> None:
    """Start the graph with the embedded model, rerank a small collection over HTTP, show the gain, and stop.

    Needs neither a GPU nor a network; takes about a minute.
    """
    from rich.console import Console

    from cluster.local.demo import run_demo

    run_demo(Console(), port)
