"""The results of a suite: one per collection, and their means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.evaluation.collection import Collection
from cluster.evaluation.comparison import Comparison, as_rows
from reranker.ir.measures import Difference

FIRST_STAGE, RERANKED = "first stage", "reranked"


@dataclass(frozen=True, slots=True)
class CollectionResult:
    """queries, pairs: how many were reranked."""

    collection: Collection
    queries: int
    pairs: int
    comparison: Comparison

    @property
    def name(self) -> str:
        return self.collection.name


@dataclass(frozen=True, slots=True)
class RerankedResult(CollectionResult):
    """comparison: the first stage, then the reranked run."""

    def before(self, measure: str) -> float:
        return self.comparison.runs[0].evaluation.aggregate[measure]

    def after(self, measure: str) -> float:
        return self.comparison.runs[1].evaluation.aggregate[measure]

    def difference(self, measure: str) -> Difference:
        return self.comparison.runs[1].against_first[measure]


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """All collections, reranked by one model to one depth. Every collection has the same weight in the means."""

    model: str
    depth: int
    results: Sequence[RerankedResult]

    @property
    def measures(self) -> list[str]:
        return self.results[0].comparison.measures

    def mean_before(self, measure: str) -> float:
        return float(np.mean([result.before(measure) for result in self.results]))

    def mean_after(self, measure: str) -> float:
        return float(np.mean([result.after(measure) for result in self.results]))

    def as_json(self) -> dict[str, Any]:
        means = {measure: (self.mean_before(measure), self.mean_after(measure)) for measure in self.measures}
        return {
            "model": self.model,
            "depth": self.depth,
            "collections": [
                {
                    "collection": result.name,
                    "queries": result.queries,
                    "judged": result.comparison.judged,
                    "pairs": result.pairs,
                    "runs": as_rows(result.comparison),
                }
                for result in self.results
            ],
            "mean": {
                FIRST_STAGE: {measure: before for measure, (before, _) in means.items()},
                RERANKED: {measure: after for measure, (_, after) in means.items()},
                "difference": {measure: after - before for measure, (before, after) in means.items()},
            },
        }
