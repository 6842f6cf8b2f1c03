"""`reranker evaluate`: how good are these runs, and do they differ? And `suite`: how good is a model?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.options import Device, Dtype, MaxPairTokens, Model, Revision, Template
from cluster.evaluation.group import DEFAULT, CommandOrGroup
from reranker.errors import InvalidFile

evaluate = typer.Typer(cls=CommandOrGroup, help="Measure runs, or a model over whole collections.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, with the values of every query.")]
HtmlFile = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write one page with tables and pictures; it needs no network."),
]


@evaluate.command(DEFAULT, hidden=True)
def evaluate_runs(
    qrels: Annotated[Path, typer.Option(help="Judgements: BEIR's tsv or TREC's four columns.")],
    runs: Annotated[list[Path], typer.Argument(metavar="RUNS", help="TREC runs; the first one is the base.")],
    as_json: Json = False,
    html: HtmlFile = None,
    queries: Annotated[Path | None, typer.Option(help="Queries: _id and text, which the page then shows.")] = None,
) -> None:
    """Measure runs by nDCG@10, nDCG@20, AP, RR and R@100.

    Several runs stand side by side, each with its difference to the first and the p-value of a paired t-test over
    queries. A judged query that a run lacks counts as 0.

    Example: `reranker evaluate --qrels qrels.tsv bm25.trec reranked/run.trec --html report.html`

    `reranker evaluate suite DIR --output OUT` reranks whole collections and measures the result, as for the table
    of a paper: see `reranker evaluate suite --help`.
    """
    if html is not None:
        _refuse_unwritable(html)
    from cluster.evaluation.comparison import as_rows, compare, refuse_strangers
    from reranker.ir.trec import read_qrels, read_queries, read_run

    judgements = read_qrels(qrels)
    texts = {} if queries is None else read_queries(queries)
    rankings = [read_run(run) for run in runs]
    for path, ranking in zip(runs, rankings, strict=True):
        refuse_strangers(path, ranking, qrels, judgements)
    comparison = compare(judgements, list(zip(_names(runs), rankings, strict=True)))
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
def evaluate_suite(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Collections, a directory each: queries.jsonl, corpus.jsonl, run.trec, and qrels.tsv or "
            "qrels/test.tsv, any of them also .gz. Or one such directory.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="A directory for the results, one a collection.")],
    depth: Annotated[int, typer.Option(help="Candidates reranked of each query, from the top of the run.")] = 100,
    as_json: Json = False,
    html: HtmlFile = None,
    scorers: Annotated[
        int | None, typer.Option(help="Scorer actors at most; by default one for each GPU, or one on CPUs.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster; one is started here by default.")
    ] = None,
    model: Model = "embedded",
    template: Template = "auto",
    max_pair_tokens: MaxPairTokens = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    revision: Revision = None,
) -> None:
    """Rerank whole collections and print nDCG@10 before and after, a row a collection: the table of a paper.

    Both are over the first DEPTH candidates of each query. The p-value is that of a paired t-test over queries; a
    judged query that the run lacks counts as 0. Each collection is reranked as by `reranker batch`, into
    OUTPUT/NAME. Give the same command again after an interruption: it goes on where it stopped.

    Example: `reranker evaluate suite beir --output reranked --model DIR --html report.html`
    """
    from cluster.evaluation.collection import find_collections

    collections = find_collections(directory, output)

    from rich.console import Console

    from cluster.evaluation.suite import plan_suite, run_suite
    from cluster.evaluation.terminal import suite_table

    checkpoint = {
        "model": model,
        "revision": revision,
        "template": template,
        "max_pair_tokens": max_pair_tokens,
        "dtype": dtype,
        "device": device,
    }
    options = {"address": address, "scorers": scorers, "checkpoint": checkpoint}
    suite = plan_suite(collections, output, depth, options)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidFile(output, f"cannot be made: {error.strerror}") from None
    if html is not None:
        _refuse_unwritable(html)  # after the output is made: that is where a page may well go
    report = run_suite(suite, Console(stderr=True))
    if html is not None:
        from cluster.evaluation.page import suite_page, write_page

        write_page(html, suite_page(report, directory.resolve().name))
    if as_json:
        print(json.dumps(report.as_json()))
    else:
        Console().print(suite_table(report))


def _names(runs: list[Path]) -> list[str]:
    """File names where they tell the runs apart, else whole paths."""
    short = [run.name for run in runs]
    return short if len(set(short)) == len(short) else [str(run) for run in runs]


def _refuse_unwritable(path: Path) -> None:
    from cluster.evaluation.page import refuse_unwritable

    refuse_unwritable(path)
