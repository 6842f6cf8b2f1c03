"""`reranker batch`: the job behind a command line."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.options import Device, Dtype, MaxPairTokens, Model, Revision, Template

_INPUT = "Input: the first three, or one of the others; local files or URLs (s3://, gs://)"
_JOB = "Job"
_MACHINES = "Machines"


def batch(
    output: Annotated[Path, typer.Option(help="A directory that is empty or does not exist yet.")],
    queries: Annotated[
        str | None,
        typer.Option(help="Queries: jsonl or parquet with _id and text, or tsv.", rich_help_panel=_INPUT),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(
            help="Passages: jsonl or parquet with _id, title and text, or tsv; of any size.", rich_help_panel=_INPUT
        ),
    ] = None,
    run: Annotated[str | None, typer.Option(help="First stage: a TREC run.", rich_help_panel=_INPUT)] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            help="A row a candidate: query_id, query, docid, text, and optionally title and first_stage_score.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option(
            help="A row a query: query_id, query, and the lists docids, texts, titles, first_stage_scores.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    depth: Annotated[
        int | None, typer.Option(help="Candidates read of each query, best first; all by default.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Candidates kept of each query; all by default.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the unfinished job in --output, if there is one.")
    ] = False,
    max_bad_rows: Annotated[
        int, typer.Option(help="Rows that may be left out as unreadable, missing or without a finite score.")
    ] = 0,
    unit_pairs: Annotated[
        int, typer.Option(help="Pairs written together: what a scorer's death costs at most.")
    ] = 2_000,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read everything, score a sample, say what the job would take.")
    ] = False,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="Of one scorer's machine; --dry-run then says what the job costs.")
    ] = None,
    scorers: Annotated[
        int | None,
        typer.Option(
            help="Scorer actors at most; one for each GPU of the cluster by default, or one on CPUs.",
            rich_help_panel=_MACHINES,
        ),
    ] = None,
    encoders: Annotated[
        int | None,
        typer.Option(
            help="Tokenizing actors at most; by default one for every 8 scorers.", rich_help_panel=_MACHINES
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads of a scorer; every core by default.", rich_help_panel=_MACHINES),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="A running Ray cluster: auto, or host:port; one is started here by default.",
            rich_help_panel=_MACHINES,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report, or the estimate, as JSON.")] = False,
    model: Model = "embedded",
    template: Template = "auto",
    max_pair_tokens: MaxPairTokens = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    revision: Revision = None,
) -> None:
    """Rerank a whole query log as a Ray Data job.

    Writes OUTPUT/parquet/*.parquet (query_id, docid, rank, logit), OUTPUT/run.trec, OUTPUT/report.json,
    OUTPUT/bad_rows.jsonl where rows were left out, and OUTPUT/_SUCCESS, which tells that all is there. A job that was
    killed at any moment goes on with --resume.

    Example: `reranker batch --queries q.jsonl --corpus c.jsonl --run bm25.trec --output reranked --top-k 100`
    """
    import json

    from rich.console import Console

    from cluster.batch.settings import BatchSettings

    console = Console(stderr=True)
    settings = BatchSettings.model_validate(
        {
            "queries": queries,
            "corpus": corpus,
            "run": run,
            "pairs": pairs,
            "candidates": candidates,
            "output": output,
            "resume": resume,
            "depth": depth,
            "top_k": top_k,
            "max_bad_rows": max_bad_rows,
            "unit_pairs": unit_pairs,
            "address": address,
            "scorers": scorers,
            "encoders": encoders,
            "checkpoint": {
                "model": model,
                "revision": revision,
                "template": template,
                "max_pair_tokens": max_pair_tokens,
                "dtype": dtype,
                "device": device,
            },
            "engine": {"threads": threads},
        }
    )
    if dry_run:
        from cluster.batch.dry_run import estimate, print_estimate

        estimated = estimate(settings, console)
        if as_json:
            print(json.dumps(estimated.to_json(price_per_hour)))
        else:
            print_estimate(estimated, price_per_hour, console)
        return

    from cluster.batch.job import run_batch
    from cluster.batch.report import print_report

    report = run_batch(settings, console)
    if as_json:
        print(json.dumps(report.to_json()))
    else:
        print_report(report, console)
        console.print(f"-> {output}", markup=False)
