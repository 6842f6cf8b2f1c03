"""How good is a ranking: nDCG@10, nDCG@20, AP and RR, computed by ir-measures.

nDCG takes grades as gains with a log2 discount (Järvelin and Kekäläinen, 2002), as trec_eval does. AP and RR count
grades from 1 as relevant. A judged query that a run lacks counts as 0, as under trec_eval's `-c`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ir_measures
import numpy as np
from scipy import stats

from reranker.trec import Qrels, Run

MEASURES = tuple(ir_measures.parse_measure(name) for name in ("nDCG@10", "nDCG@20", "AP", "RR"))


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


def evaluate(qrels: Qrels, run: Run) -> Evaluation:
    """Measure one run. A run's order decides: its scores are replaced by ranks, so that nothing ties."""
    scored = {
        query_id: {docid: float(-rank) for rank, docid in enumerate(docids)} for query_id, docids in run.items()
    }
    per_query = {str(measure): dict.fromkeys(qrels, 0.0) for measure in MEASURES}
    for metric in ir_measures.iter_calc(MEASURES, qrels, scored):
        per_query[str(metric.measure)][metric.query_id] = metric.value
    aggregate = {name: float(np.mean(list(values.values()))) for name, values in per_query.items()}
    return Evaluation(per_query, aggregate)


def differences(base: Evaluation, others: Sequence[Evaluation]) -> list[dict[str, Difference]]:
    """Each of the others against the base, by measure name. Equal runs have a p-value of 1."""
    return [
        {name: _difference(base.per_query[name], other.per_query[name]) for name in base.per_query}
        for other in others
    ]


def _difference(base: Mapping[str, float], other: Mapping[str, float]) -> Difference:
    deltas = np.array([other[query_id] - base[query_id] for query_id in base])
    if len(deltas) < 2 or np.ptp(deltas) < 1e-9:  # the t statistic is 0/0, or infinite but for rounding
        return Difference(float(deltas.mean()), 1.0 if not deltas.any() else float("nan"))
    return Difference(float(deltas.mean()), float(stats.ttest_1samp(deltas, 0.0).pvalue))
