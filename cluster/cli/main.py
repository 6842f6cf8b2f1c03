"""The `reranker` command: one typer application, one file per command.

Invalid input ends with one line on stderr and exit code 2. Heavy modules are imported only by the command that runs.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from cluster.cli.batch import batch
from cluster.cli.bench import bench
from cluster.cli.cluster import cluster
from cluster.cli.config import config
from cluster.cli.demo import demo
from cluster.cli.evaluate import evaluate
from cluster.cli.key import key
from cluster.cli.model import model
from cluster.cli.plan import plan
from cluster.cli.rerank import rerank
from cluster.cli.serve import serve
from cluster.cli.top import top
from cluster.cli.train import train
from reranker.errors import RerankerError, ServiceError
from reranker.extras import how_to_install
from reranker.version import __version__

app = typer.Typer(
    name="reranker",
    help="Rerank passages with a cross-encoder: a few at a terminal, or a whole query log at once.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(serve)
app.command()(rerank)
app.command()(batch)
app.command()(plan)
app.command()(top)
app.add_typer(evaluate, name="evaluate")
app.add_typer(model, name="model")
app.add_typer(config, name="config")
app.add_typer(key, name="key")
app.add_typer(bench, name="bench")
app.add_typer(cluster, name="cluster")
app.add_typer(train, name="train")


@app.callback(invoke_without_command=True)
def root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if show_version:
        print(__version__)
        raise typer.Exit


def main(args: list[str] | None = None) -> None:
    """Exit codes: 0 success, 1 internal or server error, 2 invalid input, 130 interrupted."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # everything is in Ray's log files
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # rather than fail on text that the terminal cannot encode
    code: str | int | None = 0
    try:
        app(args)
    except SystemExit as exit_:  # raised by typer: success, invalid usage (2) or interrupted (130)
        code = 0 if isinstance(exit_.__context__, BrokenPipeError) else exit_.code
    except RerankerError as error:
        print(f"reranker: {error}", file=sys.stderr)
        code = 1 if isinstance(error, ServiceError) else 2
    except ValueError as error:
        if not hasattr(error, "errors"):  # not pydantic's ValidationError, which means an invalid setting
            raise
        first = error.errors()[0]
        field = str(first["loc"][-1] if first["loc"] else "settings").replace("_", "-")
        print(f"reranker: --{field}: {first['msg']}, got {first['input']!r}", file=sys.stderr)
        code = 2
    except ModuleNotFoundError as error:
        if (line := how_to_install(error)) is None:
            raise
        print(f"reranker: {line}", file=sys.stderr)
        code = 2
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader closed the pipe, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
