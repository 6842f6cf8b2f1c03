"""`reranker bench`: measurements that can be made again."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.options import Dtype, Model

bench = typer.Typer(help="Measurements that can be made again; each prints a table, and JSON where asked.")

Collection = Annotated[
    Path, typer.Option(help="A directory with queries.jsonl, corpus.jsonl, run.trec and qrels.tsv.")
]
Json = Annotated[Path | None, typer.Option("--json", help="Write the figures here as well; '-' is stdout.")]
Port = Annotated[int, typer.Option(help="A free port on 127.0.0.1 for the graph.")]
SAMPLE = Path(__file__).parent.parent / "sample"


@bench.command()
def roads(
    collection: Collection = SAMPLE,
    model: Model = "embedded",
    dtype: Dtype = "float32",
    port: Port = 8200,
    json_path: Json = None,
) -> None:
    """Same scores on every road? Hugging Face's loop, HTTP and a batch job over one collection."""
    from cluster.bench.roads import compare_roads
    from reranker.settings import CheckpointSettings

    checkpoint = CheckpointSettings.model_validate({"model": model, "dtype": dtype})
    _report(lambda console: compare_roads(collection, checkpoint, console, port=port), json_path)


@bench.command()
def latency(
    collection: Collection = SAMPLE,
    model: Model = "embedded",
    passages: Annotated[int, typer.Option(min=1, help="Passages a request.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Requests for each contender.")] = 20,
    port: Port = 8200,
    json_path: Json = None,
) -> None:
    """Seconds for one request over HTTP, beside CrossEncoder in process on the same pairs."""
    from cluster.bench.latency import measure_latency

    _report(lambda console: measure_latency(collection, model, passages, rounds, console, port=port), json_path)


def _report(measure, json_path: Path | None) -> None:  # type: ignore[no-untyped-def]
    import json

    from rich.console import Console

    text = json.dumps(measure(Console(stderr=True)), indent=1)
    if json_path == Path("-"):
        print(text)
    elif json_path is not None:
        json_path.write_text(text + "\n")
