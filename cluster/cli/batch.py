"""`reranker batch`: run the batch job, or estimate it."""

from typing import Annotated, Any

import typer

from cluster.batch.settings import BatchSettings
from cluster.cli.options import MODEL_FIELDS, MODEL_PANEL, options_of

_OPTIONS = {
    "Options": ("output", "work_dir", "depth", "top_k", "resume", "max_bad_rows", "unit_pairs"),
    "Input files or s3://, gs:// URLs: queries, corpus and run; or pairs; or candidates": (
        "queries",
        "corpus",
        "run",
        "pairs",
        "candidates",
    ),
    "Machines": ("scorers", "encoders", "engine.threads", "address"),
    MODEL_PANEL: [f"checkpoint.{name}" for name in MODEL_FIELDS],
}


@options_of(BatchSettings, _OPTIONS)
def batch(
    options: dict[str, Any],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read all inputs, score a sample and estimate the job; write nothing.")
    ] = False,
    price_per_hour: Annotated[
        float | None,
        typer.Option(min=0, help="Price per hour of one scorer's machine: --dry-run then also estimates the cost."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report or the estimate as JSON.")] = False,
) -> None:
    """Rerank a whole query log as a Ray Data job.

    Writes OUTPUT/parquet/*.parquet (query_id, docid, rank, logit), OUTPUT/run.trec, OUTPUT/report.json,
    OUTPUT/bad_rows.jsonl if rows were skipped, and last OUTPUT/_SUCCESS, which marks the job complete. A job that was
    killed continues with --resume. OUTPUT may be s3://bucket/prefix, with `dear-reranker[s3]`.

    Example: `reranker batch --queries q.jsonl --corpus c.jsonl --run bm25.trec --output reranked --top-k 100`
    """
    import json

    from rich.console import Console

    console = Console(stderr=True)
    settings = BatchSettings.model_validate(options)
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
    from reranker.ir.locations import redacted

    report = run_batch(settings, console)
    if as_json:
        print(json.dumps(report.to_json()))
    else:
        print_report(report, console)
        console.print(f"-> {redacted(settings.output)}", markup=False)
