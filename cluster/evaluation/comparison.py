"""Runs beside one another over the same judged queries, the first one being the base."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reranker.errors import InvalidFile
from reranker.ir.measures import Difference, Evaluation, differences, evaluate, ndcg_by_depth
from reranker.ir.trec import Qrels, Run

MAIN_MEASURE = "nDCG@10"  # the one that tables of papers show, and by which queries win or lose


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One run. by_depth: mean nDCG@k by k; against_first: by measure name, empty for the first run itself."""

    name: str
    evaluation: Evaluation
    by_depth: Mapping[int, float]
    against_first: Mapping[str, Difference]


@dataclass(frozen=True, slots=True)
class Comparison:
    """runs: the base, then the others. judged: queries in the qrels, all of which count in every mean."""

    judged: int
    runs: Sequence[MeasuredRun]

    @property
    def base(self) -> MeasuredRun:
        return self.runs[0]

    @property
    def measures(self) -> list[str]:
        return list(self.base.evaluation.aggregate)


def refuse_strangers(run_path: Path, run: Run, qrels_path: Path, qrels: Qrels) -> None:
    """Raises InvalidFile for a run of other queries than those judged: its measures would all be 0."""
    if not run.keys() & qrels.keys():
        raise InvalidFile(run_path, f"has none of the {len(qrels)} queries that {qrels_path} judges")


def compare(qrels: Qrels, runs: Sequence[tuple[str, Run]]) -> Comparison:
    """Measure (name, run) after (name, run); the first is the base."""
    evaluations = [evaluate(qrels, run) for _, run in runs]
    against = [{}, *differences(evaluations[0], evaluations[1:])]
    return Comparison(
        len(qrels),
        [
            MeasuredRun(name, evaluation, ndcg_by_depth(qrels, run), difference)
            for (name, run), evaluation, difference in zip(runs, evaluations, against, strict=True)
        ],
    )


def as_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """For JSON: one object a run, with the values of every query. A p-value that does not exist is None."""
    rows: list[dict[str, Any]] = []
    for run in comparison.runs:
        row: dict[str, Any] = {
            "run": run.name,
            "mean": dict(run.evaluation.aggregate),
            "ndcg_by_depth": {str(depth): value for depth, value in run.by_depth.items()},
            "per_query": run.evaluation.per_query,
        }
        if run.against_first:
            row["against_first"] = {
                measure: {"difference": value.mean, "p_value": None if math.isnan(value.p_value) else value.p_value}
                for measure, value in run.against_first.items()
            }
        rows.append(row)
    return rows
