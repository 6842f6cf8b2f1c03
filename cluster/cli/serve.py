"""`reranker serve`: the graph on this machine, until it is interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.options import MODEL_FIELDS, MODEL_PANEL, options_of
from reranker.keys import read_keys
from reranker.settings import CheckpointSettings


@options_of(CheckpointSettings, {MODEL_PANEL: MODEL_FIELDS})
def serve(
    options: dict[str, Any],
    port: Annotated[int, typer.Option(min=1, max=65535, help="A free port on 127.0.0.1.")] = 8000,
    keys_file: Annotated[
        Path | None, typer.Option(help="File of API keys (`reranker key new`); by default anybody may call.")
    ] = None,
) -> None:
    """Serve a model over HTTP on 127.0.0.1 until Ctrl-C: the laptop configuration, without Ray's dashboard.

    For anything else, write a configuration with `reranker config print` and start it with `serve run`.

    Example: `reranker serve --model path/to/checkpoint --port 8001`
    """
    from rich.console import Console

    from cluster.local.graph import serve_in_foreground

    settings = CheckpointSettings.model_validate(options)
    args = settings.model_dump(mode="json", exclude_defaults=True)
    if keys_file is not None:
        read_keys(keys_file)  # to fail now, in one line, if it cannot be used
        args["auth"] = {"keys_file": str(keys_file.resolve()), "open_pages": True}
    serve_in_foreground(args, port, Console(stderr=True, highlight=False))
