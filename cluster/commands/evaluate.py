"""`reranker evaluate`: how good are these runs, and do they differ?"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reranker.errors import InvalidFile

if TYPE_CHECKING:
    from reranker.measures import Difference, Evaluation


def evaluate(
    qrels: Annotated[Path, typer.Option(help="Judgements: BEIR's tsv or TREC's four columns.")],
    runs: Annotated[list[Path], typer.Argument(metavar="RUNS", help="TREC runs; the first one is the base.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the values of every query.")] = False,
) -> None:
    """Measure runs by nDCG@10, nDCG@20, AP and RR.

    Several runs stand side by side, each with its difference to the first and the p-value of a paired t-test over
    queries. A judged query that a run lacks counts as 0.

    Example: `reranker evaluate --qrels qrels.tsv bm25.trec reranked/run.trec`
    """
    from reranker.measures import differences
    from reranker.measures import evaluate as measure
    from reranker.trec import read_qrels, read_run

    judgements = read_qrels(qrels)
    rankings = [read_run(run) for run in runs]
    for path, ranking in zip(runs, rankings, strict=True):
        if not ranking.keys() & judgements.keys():
            raise InvalidFile(path, f"has none of the {len(judgements)} queries that {qrels} judges")
    evaluations = [measure(judgements, ranking) for ranking in rankings]
    against_first = differences(evaluations[0], evaluations[1:])
    names = _names(runs)
    if as_json:
        print(json.dumps(_json(names, evaluations, against_first)))
    else:
        _print_table(len(judgements), names, evaluations, against_first)


def _names(runs: list[Path]) -> list[str]:
    """File names where they tell the runs apart, else whole paths."""
    short = [run.name for run in runs]
    return short if len(set(short)) == len(short) else [str(run) for run in runs]


def _json(names: list[str], evaluations: list[Evaluation], against: list[dict[str, Difference]]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {"run": name, "mean": dict(evaluation.aggregate), "per_query": evaluation.per_query}
        for name, evaluation in zip(names, evaluations, strict=True)
    ]
    for row, difference in zip(rows[1:], against, strict=True):
        row["against_first"] = {
            measure: {"difference": value.mean, "p_value": None if math.isnan(value.p_value) else value.p_value}
            for measure, value in difference.items()
        }
    return {"runs": rows}


def _print_table(
    queries: int, names: list[str], evaluations: list[Evaluation], against: list[dict[str, Difference]]
) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{queries} judged queries", title_justify="left")
    for heading in ("run", *evaluations[0].aggregate):
        table.add_column(heading, overflow="fold")
    names = [escape(name) for name in names]
    table.add_row(names[0], *(f"{value:.4f}" for value in evaluations[0].aggregate.values()))
    for name, evaluation, difference in zip(names[1:], evaluations[1:], against, strict=True):
        table.add_row(
            name,
            *(
                f"{value:.4f}\n{difference[measure].mean:+.4f}\np={difference[measure].p_value:.2g}"
                for measure, value in evaluation.aggregate.items()
            ),
        )
    Console().print(table)
