"""`reranker batch`: the job behind a command line."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.options import Device, Dtype, MaxPairTokens, Model, Revision, Template


def batch(
    queries: Annotated[Path, typer.Option(help="Queries: jsonl or parquet with _id and text.")],
    corpus: Annotated[Path, typer.Option(help="Passages: jsonl or parquet with _id, title and text.")],
    run: Annotated[Path, typer.Option(help="First stage: a TREC run.")],
    output: Annotated[Path, typer.Option(help="A directory that is empty or does not exist yet.")],
    top_k: Annotated[int | None, typer.Option(help="Candidates kept of each query; all by default.")] = None,
    scorers: Annotated[int, typer.Option(help="Scorer actors, one card each where the device is cuda.")] = 1,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster; one is started here by default.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out what the run names and no file holds.")
    ] = False,
    model: Model = "embedded",
    template: Template = "auto",
    max_pair_tokens: MaxPairTokens = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    revision: Revision = None,
) -> None:
    """Rerank a whole query log as a Ray Data job.

    Writes OUTPUT/parquet/*.parquet (query_id, docid, rank, logit), OUTPUT/run.trec, and last OUTPUT/_SUCCESS.

    Example: `reranker batch --queries q.jsonl --corpus c.jsonl --run bm25.trec --output reranked --top-k 100`
    """
    from rich.console import Console

    from cluster.batch.job import run_batch
    from cluster.batch.settings import BatchSettings

    console = Console(stderr=True)
    settings = BatchSettings.model_validate(
        {
            "queries": queries,
            "corpus": corpus,
            "run": run,
            "output": output,
            "top_k": top_k,
            "allow_missing": allow_missing,
            "address": address,
            "scorers": scorers,
            "checkpoint": {
                "model": model,
                "revision": revision,
                "template": template,
                "max_pair_tokens": max_pair_tokens,
                "dtype": dtype,
                "device": device,
            },
        }
    )
    report = run_batch(settings, console)
    left_out = ""
    if report.missing_queries or report.missing_passages:
        left_out = f"; left out: {report.missing_queries} queries, {report.missing_passages} passages in no file"
    console.print(
        f"{report.queries} queries, {report.pairs} pairs in {report.seconds:.1f} s "
        f"({report.pairs_per_s:.0f} pairs/s) -> {output}{left_out}"
    )
