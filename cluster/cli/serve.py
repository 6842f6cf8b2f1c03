"""`reranker serve`: the graph on this machine, until it is interrupted."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cluster.cli.options import MODEL_FIELDS, MODEL_PANEL, options_of
from reranker.settings import CheckpointSettings


@options_of(CheckpointSettings, {MODEL_PANEL: MODEL_FIELDS})
def serve(
    options: dict[str, Any],
    port: Annotated[int, typer.Option(min=1, max=65535, help="A free port on 127.0.0.1.")] = 8000,
) -> None:
    """Serve a model over HTTP on 127.0.0.1 until Ctrl-C: the laptop configuration, with `serve run`.

    For anything else, write a configuration with `reranker config print` and start it with `serve run`.

    Example: `reranker serve --model path/to/checkpoint --port 8001`
    """
    from cluster.local.graph import serve_in_foreground

    settings = CheckpointSettings.model_validate(options)
    args = settings.model_dump(mode="json", exclude_defaults=True)
    raise typer.Exit(serve_in_foreground(args, port))
