"""Quality of a ranking: nDCG@10, nDCG@20, AP, RR and R@100, computed by ir-measures.

nDCG uses grades as gains with a log2 discount (Järvelin and Kekäläinen, 2002), as trec_eval does. For AP, RR and R a
grade of 1 or more is relevant, and one below 0 counts as 0. A judged query missing from a run counts as 0, as with
trec_eval's `-c`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ir_measures
import numpy as np
from numpy.typing import NDArray

from reranker.ir.qrels import Qrels
from reranker.ir.runs import Run

MEASURES = tuple(ir_measures.parse_measure(name) for name in ("nDCG@10", "nDCG@20", "AP", "RR", "R@100"))
DEPTHS = (1, 3, 5, 10, 20, 50, 100)
EQUAL_WITHIN = 1e-9  # smaller differences between two values of one query are rounding errors


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Values by measure name: per_query by query_id, in the order of the qrels; aggregate: their mean."""

    per_query: Mapping[str, Mapping[str, float]]
    aggregate: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of two runs' means in one measure, and the p-value of a paired two-sided t-test.

    p_value: NaN if every query differs by the same amount or there is only one query: t is then undefined. 1 if the
    runs are equal.
    Source of the test for IR runs: Smucker, Allan and Carterette, 2007.
    """

    mean: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Gain:
    """One query's values of one measure in a base run and in another run."""

    query_id: str
    base: float
    other: float

    @property
    def value(self) -> float:
        """Positive if the other run is better; exactly 0 if the values differ only by rounding."""
        return 0.0 if abs(self.other - self.base) < EQUAL_WITHIN else self.other - self.base


def evaluate(qrels: Qrels, run: Run) -> Evaluation:
    """Measure one run. Only its order counts: scores are replaced by ranks, so that there are no ties."""
    per_query = _per_query(MEASURES, qrels, run)
    return Evaluation(per_query, {name: _mean(values) for name, values in per_query.items()})


def ndcg_by_depth(qrels: Qrels, run: Run) -> dict[int, float]:
    """nDCG@k for k in DEPTHS, means over the judged queries."""
    measures = [ir_measures.nDCG @ depth for depth in DEPTHS]
    per_query = _per_query(measures, qrels, run)
    return {depth: _mean(per_query[str(measure)]) for depth, measure in zip(DEPTHS, measures, strict=True)}


def differences(base: Evaluation, others: Sequence[Evaluation]) -> list[dict[str, Difference]]:
    """Difference of each other run to the base, by measure name."""
    return [
        {name: _difference(base.per_query[name], other.per_query[name]) for name in base.per_query}
        for other in others
    ]


def mean_difference(strata: Sequence[tuple[Evaluation, Evaluation]], measure: str) -> Difference:
    """Difference of two runs' means over several collections, which weigh the same whatever their size.

    strata: (base, other) of each collection. The paired t-test adds the variances of the collections' means; over one
    collection it is that of `differences`. p_value: NaN if a collection has only one query, or none varies.
    Source: Welch, 1947 (degrees of freedom, by Satterthwaite's formula).
    """
    deltas = [_deltas(base.per_query[measure], other.per_query[measure]) for base, other in strata]
    mean = float(np.mean([values.mean() for values in deltas]))
    if not any(values.any() for values in deltas):
        return Difference(mean, 1.0)
    if any(len(values) < 2 for values in deltas) or all(np.ptp(values) < EQUAL_WITHIN for values in deltas):
        return Difference(mean, float("nan"))
    from scipy import stats  # takes a second to import, and comes with an extra

    variances = np.array([values.var(ddof=1) / len(values) for values in deltas])
    freedom = variances.sum() ** 2 / sum(variances**2 / [len(values) - 1 for values in deltas])
    t = mean * len(deltas) / np.sqrt(variances.sum())
    return Difference(mean, float(2 * stats.t.sf(abs(t), freedom)))


def gains(base: Evaluation, other: Evaluation, measure: str) -> list[Gain]:
    """Every judged query, from the largest gain to the largest loss; ties keep the order of the qrels."""
    after = other.per_query[measure]
    by_query = [Gain(query_id, value, after[query_id]) for query_id, value in base.per_query[measure].items()]
    return sorted(by_query, key=lambda gain: -gain.value)


def _per_query(measures: Sequence[Any], qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    """By measure name, then query_id in the order of the qrels."""
    scored = {
        query_id: {docid: float(-rank) for rank, docid in enumerate(docids)} for query_id, docids in run.items()
    }
    per_query = {str(measure): dict.fromkeys(qrels, 0.0) for measure in measures}
    # Grades below 0 gain what 0 gains, and pytrec_eval reads outside its memory where a query has no others.
    grades = {
        query_id: {docid: max(0, grade) for docid, grade in judged.items()} for query_id, judged in qrels.items()
    }
    for metric in ir_measures.iter_calc(measures, grades, scored):
        per_query[str(metric.measure)][metric.query_id] = metric.value
    return per_query


def _mean(values: Mapping[str, float]) -> float:
    return float(np.mean(list(values.values())))


def _difference(base: Mapping[str, float], other: Mapping[str, float]) -> Difference:
    deltas = _deltas(base, other)
    if len(deltas) < 2 or np.ptp(deltas) < EQUAL_WITHIN:  # t would be 0/0, or infinite
        return Difference(float(deltas.mean()), 1.0 if not deltas.any() else float("nan"))
    from scipy import stats  # takes a second to import, and comes with an extra

    return Difference(float(deltas.mean()), float(stats.ttest_1samp(deltas, 0.0).pvalue))


def _deltas(base: Mapping[str, float], other: Mapping[str, float]) -> NDArray[np.float64]:
    """(queries,)"""
    return np.array([other[query_id] - base[query_id] for query_id in base])
