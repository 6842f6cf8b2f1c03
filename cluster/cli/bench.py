"""`reranker bench`: measurements that can be made again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli.bench_autoscale import autoscale
from cluster.cli.bench_http import http
from cluster.cli.options import Device, Dtype, Json, Model, names_in, reported

if TYPE_CHECKING:
    from rich.console import Console

    from cluster.bench.engine.contender import Contender

bench = typer.Typer(
    help="Measurements that can be made again; each prints a table, and JSON where asked.", no_args_is_help=True
)

bench.command()(autoscale)
bench.command("http")(http)


@bench.command()
def engine(
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="As for other commands; by default random weights, 12 layers 576 wide."),
    ] = None,
    peers: Annotated[
        str, typer.Option(help="Any of loop, crossencoder, infinity and vllm, with commas.")
    ] = "loop,crossencoder,infinity,vllm",
    collection: Annotated[
        Path | None,
        typer.Option(
            help="queries.jsonl, corpus.jsonl and run.trec; by default bundled texts, as long as MS MARCO's."
        ),
    ] = None,
    documents: Annotated[int, typer.Option(min=1, help="Passages a query.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Queries, each with passages of its own.")] = 7,
    dtype: Dtype = "auto",
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of each contender; all by default.")] = None,
    one_at_a_time: Annotated[
        bool, typer.Option("--one-at-a-time", help="Never two contenders in memory; rounds are not interleaved then.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of texts and order.")] = 0,
    json_path: Json = None,
) -> None:
    """How fast is the engine beside its peers, and how near to the machine's own limit?

    Peers live in environments of their own, .peers/NAME here or $RERANKER_PEERS/NAME; those that are missing are
    named with the command that installs them. `loop`, Hugging Face's own, needs nothing.

    Example: `reranker bench engine --peers loop,vllm --json engine.json`
    """
    from cluster.bench.engine.contender import RERANKER
    from cluster.bench.engine.engine import EngineBenchSettings, measure_engine

    chosen = peers_named(peers)
    settings = EngineBenchSettings(
        model=model,
        dtype=dtype,
        device=device,
        collection=collection,
        documents=documents,
        rounds=rounds,
        threads=threads,
        one_at_a_time=one_at_a_time,
        seed=seed,
    )
    result = reported(lambda console: measure_engine(settings, chosen, console), json_path)
    if any(row["name"] == RERANKER.name for row in result["failed"]):
        raise typer.Exit(1)


@bench.command()
def batch(
    model: Model = "embedded",
    dtype: Dtype = "auto",
    collection: Annotated[
        Path | None, typer.Option(help="queries.jsonl, corpus.jsonl and run.trec; by default bundled texts.")
    ] = None,
    depth: Annotated[int, typer.Option(min=1, help="Candidates a query.")] = 100,
    rounds: Annotated[int, typer.Option(min=0, help="Of engine and job in turns; 0 leaves them out.")] = 3,
    rows: Annotated[
        str, typer.Option(help="Sizes for the memory of the job, with commas; '' leaves it out.")
    ] = "10000,100000,1000000",
    scorers: Annotated[str, typer.Option(help="Pool sizes for scaling, with commas; '' leaves it out.")] = "1,2,4,8",
    json_path: Json = None,
) -> None:
    """What does the whole batch job cost beside the engine alone? Does its memory grow, and does it scale?

    Throughput runs the model; memory runs a scorer that takes no time, scaling one that sleeps for a device's time.

    Example: `reranker bench batch --collection DIR --rows '' --scorers ''`
    """
    from cluster.bench.batch.measure import BatchBenchSettings, measure_batch
    from cluster.bench.batch.report import print_batch

    settings = BatchBenchSettings(
        model=model,
        dtype=dtype,
        collection=collection,
        depth=depth,
        rounds=rounds,
        rows=_numbers("--rows", rows),
        scorers=_numbers("--scorers", scorers),
    )

    def measure(console: Console) -> dict[str, Any]:
        result = measure_batch(settings, console)
        print_batch(result, console)
        return result

    reported(measure, json_path)


def _numbers(option: str, text: str) -> list[int]:
    """Raises InvalidField unless it is whole numbers with commas."""
    from reranker.errors import InvalidField

    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise InvalidField(option, f"got {text!r}: give whole numbers above 0 with commas between")
    return [int(part) for part in parts]


def peers_named(names: str) -> list[Contender]:
    """Peers of a list with commas; an empty one names none. Raises InvalidField for a name that is not in PEERS."""
    from cluster.bench.engine.contender import PEERS

    return [PEERS[name] for name in names_in("--peers", names, PEERS)]
