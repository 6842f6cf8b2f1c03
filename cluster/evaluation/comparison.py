"""Compare runs over the same judged queries; the first run is the baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reranker.errors import InvalidFile
from reranker.ir.measures import Difference, Evaluation, differences, evaluate, ndcg_by_depth
from reranker.ir.qrels import Qrels
from reranker.ir.runs import Run

Parts = tuple[str, ...]

MAIN_MEASURE = "nDCG@10"  # for the suite's table and the gains of queries, because papers report it


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
    """Short names that differ where the paths do: x/base/run.trec, x/tuned/run.trec and bm25.trec become base, tuned
    and bm25.trec.

    Files of one name are told apart by the directories they are in, others by their names.
    """
    alike: dict[str, set[Parts]] = {}
    for path in paths:
        alike.setdefault(path.name, set()).add(path.parts)
    names = {parts: name for group in alike.values() for parts, name in _told_apart(group).items()}
    if len(set(names.values())) < len(names):
        names = _told_apart(set(names))
    return [str(Path(*names[path.parts])) for path in paths]


def _told_apart(paths: set[Parts]) -> dict[Parts, Parts]:
    """The end of each path, as long as needed to be unique, without the parts that all of them end in."""
    depth = 1
    while len({parts[-depth:] for parts in paths}) < len(paths):
        depth += 1
    names = {parts: parts[-depth:] for parts in paths}
    while min(map(len, names.values())) > 1 and len({name[-1] for name in names.values()}) == 1:
        names = {parts: name[:-1] for parts, name in names.items()}
    return names


def check_something_to_measure(run_path: str | Path, run: Run, qrels_path: str | Path, qrels: Qrels) -> None:
    """Raises InvalidFile for a run and qrels whose measures would all be 0 whatever the run's quality."""
    if not any(grade > 0 for judged in qrels.values() for grade in judged.values()):
        raise InvalidFile(
            qrels_path, "has no grade above 0, so all measures would be 0: is its last column the grade?"
        )
    common = [query_id for query_id in qrels if query_id in run]
    if not common:
        raise InvalidFile(run_path, f"has none of the {len(qrels)} queries that {qrels_path} judges")
    if all(qrels[query_id].keys().isdisjoint(run[query_id]) for query_id in common):
        ranked, judged = run[common[0]][0], next(iter(qrels[common[0]]))
        raise InvalidFile(
            run_path,
            f"has none of the passages that {qrels_path} judges: for query {common[0]!r} this ranks {ranked!r}, that "
            f"judges {judged!r}. Ids must be equal, and the columns of qrels are `qid 0 docid grade`",
        )


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
    """One JSON object per run, with the values of every query."""
    rows: list[dict[str, Any]] = []
    for run in comparison.runs:
        row: dict[str, Any] = {
            "run": run.name,
            "mean": dict(run.evaluation.aggregate),
            "ndcg_by_depth": {str(depth): value for depth, value in run.by_depth.items()},
            "per_query": run.evaluation.per_query,
        }
        if run.against_first:
            row["against_first"] = differences_as_json(run.against_first)
        rows.append(row)
    return rows


def differences_as_json(against_first: Mapping[str, Difference]) -> dict[str, Any]:
    """By measure. An undefined p-value is None."""
    return {
        measure: {"difference": value.mean, "p_value": None if math.isnan(value.p_value) else value.p_value}
        for measure, value in against_first.items()
    }
