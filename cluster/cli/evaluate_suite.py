"""`reranker evaluate suite`: one model before and after, or several beside each other, over whole collections."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.batch.settings import BatchSettings
from cluster.cli.options import MODEL_FIELDS, MODEL_PANEL, options_of
from reranker.errors import InvalidField, InvalidFile
from reranker.extras import require
from reranker.ir.locations import is_url, redacted
from reranker.settings import CheckpointSettings

PrintedJson = Annotated[bool, typer.Option("--json", help="Print JSON, with each query's values.")]
HtmlFile = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write a self-contained HTML page with tables and pictures."),
]


@options_of(
    BatchSettings,
    {"Machines": ("scorers", "address"), MODEL_PANEL: [f"checkpoint.{name}" for name in MODEL_FIELDS]},
)
def suite(
    options: dict[str, Any],
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="A collection, or a directory of collections. Each is a directory with queries.jsonl, corpus.jsonl, "
            "run.trec, and qrels.tsv or qrels/test.tsv; any of them may be .gz.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(help="Output directory; it gets one directory per collection, with --models one per model."),
    ],
    depth: Annotated[
        int, typer.Option(help="Number of candidates to rerank per query, from the top of the run.")
    ] = 100,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Instead of --model: models to compare, the first of which is the baseline.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    price_per_hour: Annotated[
        float | None,
        typer.Option(
            help="Price per hour of one scorer's machine: --models then also gives the cost of a million pairs."
        ),
    ] = None,
    as_json: PrintedJson = False,
    html: HtmlFile = None,
) -> None:
    """Rerank whole collections and print nDCG@10 before and after, one row per collection; or compare models.

    All measures are over the first DEPTH candidates of each query. The p-value is that of a paired t-test over
    queries; a judged query that the run lacks counts as 0. Each collection is reranked as by `reranker batch`,
    into OUTPUT/NAME. After an interruption, give the same command again: it resumes where it stopped.

    Example: `reranker evaluate suite beir --output reranked --model DIR --html report.html`

    With `--models A,B,C` every model reranks every collection, into OUTPUT/MODEL/NAME. Printed are nDCG@10, nDCG@20
    and AP of each model and of the first stage, per collection and as means, with differences from the first model;
    and for each model the seconds for 100 documents, the memory and, with --price-per-hour, the cost of a million
    pairs, as its jobs measured them. The page shows quality against cost.

    Example: `reranker evaluate suite beir --output compared --models embedded,DIR --price-per-hour 2.5`
    """
    require("scipy")
    if is_url(output):
        raise InvalidField("--output", f"{redacted(output)!r} is a URL, and a suite writes into a directory")
    if models is None:
        if price_per_hour is not None:
            raise InvalidField("--price-per-hour", "needs --models, which may also name one model alone")
        _one_model(directory, Path(output), depth, options, as_json, html)
        return
    if price_per_hour is not None and not 0 < price_per_hour < math.inf:
        raise InvalidField("--price-per-hour", f"must be a number above 0, got {price_per_hour:g}")
    _several_models(models, price_per_hour, directory, Path(output), depth, options, as_json, html)


def check_page(path: Path) -> None:
    """Raises InvalidFile unless a page can be written there, MissingExtra without matplotlib."""
    require("matplotlib")
    from cluster.evaluation.page import check_writable

    check_writable(path)


def _one_model(
    directory: Path, output: Path, depth: int, options: dict[str, Any], as_json: bool, html: Path | None
) -> None:
    from cluster.evaluation.collection import find_collections

    collections = find_collections(directory, output)

    from rich.console import Console

    from cluster.evaluation.suite import plan_suite, run_suite
    from cluster.evaluation.terminal import suite_table

    planned = plan_suite(collections, output, depth, options)
    _prepare_output(output, html)
    report = run_suite(planned, Console(stderr=True))
    if html is not None:
        from cluster.evaluation.page import suite_page, write_page

        write_page(html, suite_page(report, directory.resolve().name))
    if as_json:
        print(json.dumps(report.as_json()))
    else:
        Console().print(suite_table(report))


def _several_models(
    models: str,
    price_per_hour: float | None,
    directory: Path,
    output: Path,
    depth: int,
    options: dict[str, Any],
    as_json: bool,
    html: Path | None,
) -> None:
    from rich.console import Console

    from cluster.evaluation.models import models_in, plan_models, run_models
    from cluster.evaluation.terminal import models_tables

    chosen, checkpoint = models_in(models), options["checkpoint"]
    if checkpoint["model"] != CheckpointSettings.model_fields["model"].default:
        raise InvalidField("--models", "give either --model or --models")
    if checkpoint["revision"] is not None and len(chosen) > 1:
        raise InvalidField("--revision", "belongs to one model: download it first, and give --models its directory")
    planned = plan_models(chosen, directory, output, depth, options)
    _prepare_output(output, html)
    report = run_models(planned, price_per_hour, Console(stderr=True))
    if html is not None:
        from cluster.evaluation.models_page import models_page
        from cluster.evaluation.page import write_page

        write_page(html, models_page(report, directory.resolve().name))
    if as_json:
        print(json.dumps(report.as_json()))
    else:
        for table in models_tables(report):
            Console().print(table)


def _prepare_output(output: Path, html: Path | None) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidFile(output, f"cannot be created: {error.strerror}") from None
    if html is not None:
        check_page(html)  # after the output directory exists, because the page may go there
