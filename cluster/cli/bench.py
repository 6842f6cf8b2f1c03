"""`reranker bench`: reproducible benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.bench.batch.settings import BatchBenchSettings
from cluster.bench.engine.settings import EngineBenchSettings
from cluster.cli.bench_autoscale import autoscale
from cluster.cli.bench_fidelity import fidelity
from cluster.cli.bench_http import http
from cluster.cli.bench_train import train
from cluster.cli.options import MODEL_PANEL, Json, names_in, options_of, reported
from reranker.errors import InvalidField

if TYPE_CHECKING:
    from cluster.bench.engine.contender import Contender

bench = typer.Typer(
    help="Benchmarks of the engine, its fidelity, the HTTP endpoint, the batch job, autoscaling and training steps. "
    "Each prints tables, and writes JSON with --json.",
    no_args_is_help=True,
)
_ENGINE_OPTIONS = {
    "Options": ("collection", "documents", "rounds", "threads", "one_at_a_time", "seed"),
    MODEL_PANEL: ("model", "shape", "dtype", "device"),
}
_BATCH_OPTIONS = {
    "Options": ("collection", "depth", "rounds"),
    MODEL_PANEL: ("checkpoint.model", "checkpoint.dtype"),
}


@bench.command()
@options_of(EngineBenchSettings, _ENGINE_OPTIONS)
def engine(
    options: dict[str, Any],
    peers: Annotated[
        str, typer.Option(help="Comma-separated peers: any of loop, crossencoder, infinity and vllm; '' for none.")
    ] = "loop,crossencoder,infinity,vllm",
    json_path: Json = None,
) -> None:
    """Compare the engine's speed and scores with its peers, and its speed with the machine's limit.

    Peers have their own virtual environments, in .peers/NAME or $RERANKER_PEERS/NAME. For a missing one, the command
    that installs it is printed. `loop`, the model card's Hugging Face loop, needs none.

    Example: `reranker bench engine --peers loop,vllm --json engine.json`
    """
    from cluster.bench.engine.contender import RERANKER
    from cluster.bench.engine.measure import measure_engine

    chosen = peers_named(peers)
    settings = EngineBenchSettings.model_validate(options)
    result = reported(lambda console: measure_engine(settings, chosen, console), json_path)
    if any(row["name"] == RERANKER.name for row in result["failed"]):
        raise typer.Exit(1)


@bench.command()
@options_of(BatchBenchSettings, _BATCH_OPTIONS)
def batch(
    options: dict[str, Any],
    rows: Annotated[
        str, typer.Option(help="Comma-separated input sizes, in rows, of the memory part; '' skips the part.")
    ] = "10000,100000,1000000",
    scorers: Annotated[
        str, typer.Option(help="Comma-separated numbers of scorers in the scaling part; '' skips the part.")
    ] = "1,2,4,8",
    json_path: Json = None,
) -> None:
    """Compare the batch job's throughput with the engine alone, and measure its memory and its scaling.

    The throughput part runs the model. Scoring takes no time in the memory part; in the scaling part scorers sleep as
    long as a GPU would take.

    Example: `reranker bench batch --collection DIR --rows '' --scorers ''`
    """
    from cluster.bench.batch.measure import measure_batch

    sizes = {"rows": _numbers("--rows", rows), "scorers": _numbers("--scorers", scorers)}
    settings = BatchBenchSettings.model_validate({**options, **sizes})
    reported(lambda console: measure_batch(settings, console), json_path)


bench.command("http")(http)
bench.command()(autoscale)
bench.command()(train)
bench.command()(fidelity)


def _numbers(option: str, text: str) -> list[int]:
    """The numbers of a comma-separated list. Raises InvalidField unless each is an integer above 0."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise InvalidField(option, f"got {text!r}: give integers above 0, separated by commas")
    return [int(part) for part in parts]


def peers_named(names: str) -> list[Contender]:
    """The peers of a comma-separated list. Raises InvalidField for an unknown name."""
    from cluster.bench.engine.contender import PEERS

    return [PEERS[name] for name in names_in("--peers", names, PEERS)]
