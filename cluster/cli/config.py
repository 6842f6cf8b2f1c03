"""`reranker config`: print the configuration files that the package brings."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cluster.configs import ENVIRONMENT, HAPROXY, LAPTOP, PRODUCTION, TRAINING
from reranker.errors import InvalidField

config = typer.Typer(
    help="Print configuration files for `serve run`, `ray start` and `reranker train run`.", no_args_is_help=True
)

_FILES = {
    "laptop": LAPTOP,
    "production": PRODUCTION,
    "env": ENVIRONMENT,
    "haproxy-env": HAPROXY,
    **{f"train-{name}": path for name, path in TRAINING.items()},
}


@config.callback()
def root() -> None:
    """Print configuration files for `serve run`, `ray start` and `reranker train run`."""


@config.command("print")
def print_config(
    name: Annotated[
        str,
        typer.Argument(
            metavar="laptop|production|env|haproxy-env|train-embedded|train-llama-lora|train-dear-8b",
            help="laptop: the embedded model on a CPU. production: the 8B, one replica per 24 GB GPU. env: variables "
            "for the environment of `ray start` and `serve run`; haproxy-env: more of them, for HAProxy. "
            "train-…: for `reranker train run`.",
        ),
    ],
) -> None:
    """Print a configuration file to standard output.

    Example: `reranker config print laptop > serve_config.yaml && serve run serve_config.yaml`
    """
    if name not in _FILES:
        raise InvalidField("NAME", f"{name!r} is not a configuration: use one of {', '.join(_FILES)}")
    sys.stdout.write(_FILES[name].read_text("utf-8"))
