"""`reranker evaluate`: measure and compare runs, or models over whole collections (`suite`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.evaluate_suite import HtmlFile, PrintedJson, check_page, suite
from cluster.evaluation.group import DEFAULT, CommandOrGroup
from reranker.ir.locations import is_url, redacted
from reranker.types import Ties

evaluate = typer.Typer(cls=CommandOrGroup, help="Measure runs, or models over whole collections.")
evaluate.command()(suite)

TiesOption = Annotated[
    Ties,
    typer.Option(
        "--ties",
        help="Order of equal scores: trec_eval's, which compares scores as float32 and then ranks the greater docid "
        "first; or that of the file, comparing scores as written.",
    ),
]


@evaluate.command(DEFAULT, hidden=True)
def evaluate_runs(
    qrels: Annotated[
        str,
        typer.Option(
            help="Relevance judgements: TREC's `qid 0 docid grade`, BEIR's `query-id corpus-id score`, or a table "
            "whose header says which column is which."
        ),
    ],
    runs: Annotated[
        list[str], typer.Argument(metavar="RUNS", help="TREC runs, files or URLs; the first one is the baseline.")
    ],
    as_json: PrintedJson = False,
    html: HtmlFile = None,
    queries: Annotated[str | None, typer.Option(help="Queries file whose texts the HTML page shows.")] = None,
    ties: TiesOption = "trec_eval",
) -> None:
    """Measure runs by nDCG@10, nDCG@20, AP, RR and R@100.

    Candidates are ordered by score, as trec_eval does; the ranks in a run do not count. Several runs are shown side
    by side, each with its difference from the first and the p-value of a paired t-test over queries. A judged query
    that a run lacks counts as 0.

    Example: `reranker evaluate --qrels qrels.tsv bm25.trec reranked/run.trec --html report.html`

    `reranker evaluate suite DIR --output OUT` reranks whole collections and measures the result, with one model or
    several: see `reranker evaluate suite --help`.
    """
    if html is not None:
        check_page(html)
    from cluster.evaluation.comparison import as_rows, check_something_to_measure, compare, run_names
    from reranker.ir.qrels import read_qrels
    from reranker.ir.runs import read_run
    from reranker.ir.texts import read_queries

    judgements = read_qrels(qrels)
    texts = {} if queries is None else read_queries(queries)
    rankings = [read_run(run, ties) for run in runs]
    for run, ranking in zip(runs, rankings, strict=True):
        check_something_to_measure(redacted(run), ranking, redacted(qrels), judgements)
    names = run_names([_path_of(run) for run in runs])
    comparison = compare(judgements, list(zip(names, rankings, strict=True)))
    if html is not None:
        from cluster.evaluation.page import runs_page, write_page

        write_page(html, runs_page(comparison, _path_of(qrels).name, texts))
    if as_json:
        print(json.dumps({"runs": as_rows(comparison)}))
    else:
        from rich.console import Console

        from cluster.evaluation.terminal import comparison_table

        Console().print(comparison_table(comparison))


def _path_of(location: str) -> Path:
    """Without credentials and options, if it is a URL."""
    return Path(redacted(location).partition("?")[0]) if is_url(location) else Path(location)
