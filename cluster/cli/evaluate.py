"""`reranker evaluate`: measure and compare runs, or a model over whole collections (`suite`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.batch.settings import BatchSettings
from cluster.cli.options import MODEL_FIELDS, MODEL_PANEL, options_of
from cluster.evaluation.group import DEFAULT, CommandOrGroup
from reranker.errors import InvalidFile
from reranker.extras import require
from reranker.types import Ties

evaluate = typer.Typer(cls=CommandOrGroup, help="Measure runs, or a model over whole collections.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, with each query's values.")]
TiesOption = Annotated[
    Ties,
    typer.Option(
        "--ties",
        help="Order of equal scores: trec_eval's, which compares scores as float32 and then ranks the greater docid "
        "first; or that of the file, comparing scores as written.",
    ),
]
HtmlFile = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write a self-contained HTML page with tables and pictures."),
]


@evaluate.command(DEFAULT, hidden=True)
def evaluate_runs(
    qrels: Annotated[
        Path,
        typer.Option(
            help="Relevance judgements: TREC's `qid 0 docid grade`, BEIR's `query-id corpus-id score`, or a table "
            "whose header says which column is which."
        ),
    ],
    runs: Annotated[list[Path], typer.Argument(metavar="RUNS", help="TREC runs; the first one is the baseline.")],
    as_json: Json = False,
    html: HtmlFile = None,
    queries: Annotated[Path | None, typer.Option(help="Queries file whose texts the HTML page shows.")] = None,
    ties: TiesOption = "trec_eval",
) -> None:
    """Measure runs by nDCG@10, nDCG@20, AP, RR and R@100.

    Candidates are ordered by score, as trec_eval does; the ranks in a run do not count. Several runs are shown side
    by side, each with its difference from the first and the p-value of a paired t-test over queries. A judged query
    that a run lacks counts as 0.

    Example: `reranker evaluate --qrels qrels.tsv bm25.trec reranked/run.trec --html report.html`

    `reranker evaluate suite DIR --output OUT` reranks whole collections and measures the result: see
    `reranker evaluate suite --help`.
    """
    if html is not None:
        _check_writable(html)
    from cluster.evaluation.comparison import as_rows, check_something_to_measure, compare, run_names
    from reranker.ir.qrels import read_qrels
    from reranker.ir.runs import read_run
    from reranker.ir.texts import read_queries

    judgements = read_qrels(qrels)
    texts = {} if queries is None else read_queries(queries)
    rankings = [read_run(run, ties) for run in runs]
    for path, ranking in zip(runs, rankings, strict=True):
        check_something_to_measure(path, ranking, qrels, judgements)
    comparison = compare(judgements, list(zip(run_names(runs), rankings, strict=True)))
    if html is not None:
        from cluster.evaluation.page import runs_page, write_page

        write_page(html, runs_page(comparison, qrels.name, texts))
    if as_json:
        print(json.dumps({"runs": as_rows(comparison)}))
    else:
        from rich.console import Console

        from cluster.evaluation.terminal import comparison_table

        Console().print(comparison_table(comparison))


@evaluate.command("suite")
@options_of(
    BatchSettings,
    {"Machines": ("scorers", "address"), MODEL_PANEL: [f"checkpoint.{name}" for name in MODEL_FIELDS]},
)
def evaluate_suite(
    options: dict[str, Any],
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="A collection, or a directory of collections. Each is a directory with queries.jsonl, corpus.jsonl, "
            "run.trec, and qrels.tsv or qrels/test.tsv; any of them may be .gz.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Output directory; it gets one directory per collection.")],
    depth: Annotated[
        int, typer.Option(help="Number of candidates to rerank per query, from the top of the run.")
    ] = 100,
    as_json: Json = False,
    html: HtmlFile = None,
) -> None:
    """Rerank whole collections and print nDCG@10 before and after, one row per collection.

    Both are over the first DEPTH candidates of each query. The p-value is that of a paired t-test over queries; a
    judged query that the run lacks counts as 0. Each collection is reranked as by `reranker batch`, into
    OUTPUT/NAME. After an interruption, give the same command again: it resumes where it stopped.

    Example: `reranker evaluate suite beir --output reranked --model DIR --html report.html`
    """
    from cluster.evaluation.collection import find_collections

    require("scipy")
    collections = find_collections(directory, output)

    from rich.console import Console

    from cluster.evaluation.suite import plan_suite, run_suite
    from cluster.evaluation.terminal import suite_table

    suite = plan_suite(collections, output, depth, options)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidFile(output, f"cannot be created: {error.strerror}") from None
    if html is not None:
        _check_writable(html)  # after the output directory exists, because the page may go there
    report = run_suite(suite, Console(stderr=True))
    if html is not None:
        from cluster.evaluation.page import suite_page, write_page

        write_page(html, suite_page(report, directory.resolve().name))
    if as_json:
        print(json.dumps(report.as_json()))
    else:
        Console().print(suite_table(report))


def _check_writable(path: Path) -> None:
    require("matplotlib")
    from cluster.evaluation.page import check_writable

    check_writable(path)
