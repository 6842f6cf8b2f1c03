"""Compare runs over the same judged queries; the first run is the baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reranker.errors import InvalidFile
from reranker.ir.measures import Difference, Evaluation, differences, evaluate, ndcg_by_depth
from reranker.ir.trec import Qrels, Run

MAIN_MEASURE = "nDCG@10"  # the measure of papers' tables; gains and losses of queries are in it


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """by_depth: k -> mean nDCG@k. against_first: measure name -> difference; empty for the first run itself."""

    name: str
    evaluation: Evaluation
    by_depth: Mapping[int, float]
    against_first: Mapping[str, Difference]


@dataclass(frozen=True, slots=True)
class Comparison:
    """runs: the baseline, then the others. judged: number of queries in the qrels; every mean is over all of them."""

    judged: int
    runs: Sequence[MeasuredRun]

    @property
    def base(self) -> MeasuredRun:
        return self.runs[0]

    @property
    def measures(self) -> list[str]:
        return list(self.base.evaluation.aggregate)


def run_names(paths: Sequence[Path]) -> list[str]:
    """File names where these differ; else the last directories too, without the parts that all the paths end in.

    Example: x/base/run.trec and x/tuned/run.trec are called base and tuned. Only equal paths get equal names.
    """
    different = len(set(paths))
    depths = range(1, max(len(path.parts) for path in paths) + 1)
    ends = next(ends for depth in depths if len(set(ends := [path.parts[-depth:] for path in paths])) == different)
    while different > 1 and len({end[-1] for end in ends}) == 1 and min(map(len, ends)) > 1:
        ends = [end[:-1] for end in ends]
    return [str(Path(*end)) for end in ends]


def check_queries_in_common(run_path: Path, run: Run, qrels_path: Path, qrels: Qrels) -> None:
    """Raises InvalidFile for a run without any judged query: its measures would all be 0."""
    if not run.keys() & qrels.keys():
        raise InvalidFile(run_path, f"has none of the {len(qrels)} queries that {qrels_path} judges")


def compare(qrels: Qrels, runs: Sequence[tuple[str, Run]]) -> Comparison:
    """runs: (name, run) pairs, the baseline first."""
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
    """One JSON object per run, with the values of every query. An undefined p-value is None."""
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
