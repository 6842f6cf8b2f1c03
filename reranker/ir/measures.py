"""How good is a ranking: nDCG@10, nDCG@20, AP, RR and R@100, computed by ir-measures.

nDCG takes grades as gains with a log2 discount (Järvelin and Kekäläinen, 2002), as trec_eval does. AP, RR and R count
grades from 1 as relevant. A judged query that a run lacks counts as 0, as under trec_eval's `-c`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ir_measures
import numpy as np

from reranker.ir.trec import Qrels, Run

MEASURES = tuple(ir_measures.parse_measure(name) for name in ("nDCG@10", "nDCG@20", "AP", "RR", "R@100"))
DEPTHS = (1, 3, 5, 10, 20, 50, 100)
EQUAL = 1e-9  # values of one query that differ by less differ by rounding


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Values by measure name: per_query by query_id, in the order of the qrels, and their mean."""

    per_query: Mapping[str, Mapping[str, float]]
    aggregate: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Difference:
    """A run against another by one measure: difference of means, and the p-value of a paired two-sided t-test.

    p_value: NaN where every query differs by the same amount, or there is one query only: there is no t to test.
    """

    mean: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Gain:
    """One query by one measure, in a base run and in another."""

    query_id: str
    base: float
    other: float

    @property
    def value(self) -> float:
        """Above 0 where the other run is better; exactly 0 where the two differ by rounding."""
        return 0.0 if abs(self.other - self.base) < EQUAL else self.other - self.base


def evaluate(qrels: Qrels, run: Run) -> Evaluation:
    """Measure one run. A run's order decides: its scores are replaced by ranks, so that nothing ties."""
    per_query = _per_query(MEASURES, qrels, run)
    return Evaluation(per_query, {name: _mean(values) for name, values in per_query.items()})


def ndcg_by_depth(qrels: Qrels, run: Run) -> dict[int, float]:
    """nDCG@k by k in DEPTHS, means over the judged queries."""
    measures = [ir_measures.nDCG @ depth for depth in DEPTHS]
    per_query = _per_query(measures, qrels, run)
    return {depth: _mean(per_query[str(measure)]) for depth, measure in zip(DEPTHS, measures, strict=True)}


def differences(base: Evaluation, others: Sequence[Evaluation]) -> list[dict[str, Difference]]:
    """Each of the others against the base, by measure name. Equal runs have a p-value of 1."""
    return [
        {name: _difference(base.per_query[name], other.per_query[name]) for name in base.per_query}
        for other in others
    ]


def gains(base: Evaluation, other: Evaluation, measure: str) -> list[Gain]:
    """Every judged query, the largest gain first and the largest loss last; ties keep the order of the qrels."""
    after = other.per_query[measure]
    of_queries = [Gain(query_id, value, after[query_id]) for query_id, value in base.per_query[measure].items()]
    return sorted(of_queries, key=lambda gain: -gain.value)


def _per_query(measures: Sequence[Any], qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    """By measure name, then query_id in the order of the qrels."""
    scored = {
        query_id: {docid: float(-rank) for rank, docid in enumerate(docids)} for query_id, docids in run.items()
    }
    per_query = {str(measure): dict.fromkeys(qrels, 0.0) for measure in measures}
    for metric in ir_measures.iter_calc(measures, qrels, scored):
        per_query[str(metric.measure)][metric.query_id] = metric.value
    return per_query


def _mean(values: Mapping[str, float]) -> float:
    return float(np.mean(list(values.values())))


def _difference(base: Mapping[str, float], other: Mapping[str, float]) -> Difference:
    deltas = np.array([other[query_id] - base[query_id] for query_id in base])
    if len(deltas) < 2 or np.ptp(deltas) < EQUAL:  # the t statistic is 0/0, or infinite but for rounding
        return Difference(float(deltas.mean()), 1.0 if not deltas.any() else float("nan"))
    from scipy import stats  # takes a second to import, and comes with an extra

    return Difference(float(deltas.mean()), float(stats.ttest_1samp(deltas, 0.0).pvalue))
