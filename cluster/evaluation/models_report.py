"""The results of several models over the same collections; the first model is the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cluster.evaluation.comparison import as_rows, differences_as_json
from cluster.evaluation.cost import METHOD, Cost
from cluster.evaluation.report import FIRST_STAGE, CollectionResult
from reranker.ir.measures import Difference, mean_difference

SHOWN_MEASURES = ("nDCG@10", "nDCG@20", "AP")  # in tables; the JSON has all


@dataclass(frozen=True, slots=True)
class Standing:
    """A row of the table of models. mean: measure -> mean over the collections. against_first: empty for the first.

    model: as it was given; None for the first stage. cost: None if it is not known.
    """

    name: str
    model: str | None
    mean: Mapping[str, float]
    against_first: Mapping[str, Difference]
    cost: Cost | None


@dataclass(frozen=True, slots=True)
class ModelsReport:
    """Several models, and the first stage, over the same candidates.

    models: name -> model as it was given. costs: name -> cost. results: the runs of each comparison are those of the
    models in order, then the first stage. price_per_hour: of one scorer's machine; None if it was not given.
    """

    models: Mapping[str, str]
    costs: Mapping[str, Cost | None]
    depth: int
    price_per_hour: float | None
    results: Sequence[CollectionResult]

    @property
    def standings(self) -> list[Standing]:
        """Every collection has the same weight."""
        return [self._standing(place, name) for place, name in enumerate([*self.models, FIRST_STAGE])]

    def price_of(self, cost: Cost | None) -> float | None:
        """Cost of a million pairs, None without a price or figures."""
        if cost is None or self.price_per_hour is None:
            return None
        return cost.per_million_pairs(self.price_per_hour)

    @property
    def cost_headings(self) -> list[str]:
        """Of the columns that `cost_cells` fills."""
        priced = ["cost per million pairs"] if self.price_per_hour is not None else []
        return ["s for 100 documents", "memory, GB", "device", *priced]

    def cost_cells(self, standing: Standing) -> list[str]:
        """Texts, one for each heading: empty for the first stage, "–" where the figure is not known."""
        cost = standing.cost
        texts = ["–"] * len(self.cost_headings if standing.model is not None else [])
        if cost is not None:
            seconds = f"{cost.seconds_per_100:.3g}{'' if cost.warm else '*'}"
            texts[:3] = [seconds, f"{cost.peak_bytes / 1e9:.2f}", cost.device]
        if (price := self.price_of(cost)) is not None:
            texts[3] = f"{price:,.4g}"
        return texts or [""] * len(self.cost_headings)

    @property
    def cost_notes(self) -> list[str]:
        notes = [METHOD]
        if any(cost is not None and not cost.warm for cost in self.costs.values()):
            notes.append("* With the first unit, in which the device warms up: no job had another one.")
        if self.price_per_hour is not None:
            notes.append(f"Cost: at {self.price_per_hour:g} per hour for the machine of one scorer, always busy.")
        return notes

    def _standing(self, place: int, name: str) -> Standing:
        evaluations = [
            (result.comparison.base.evaluation, result.comparison.runs[place].evaluation) for result in self.results
        ]
        measures = self.results[0].comparison.measures
        mean = {measure: float(np.mean([run.aggregate[measure] for _, run in evaluations])) for measure in measures}
        against = {measure: mean_difference(evaluations, measure) for measure in measures} if place else {}
        return Standing(name, self.models.get(name), mean, against, self.costs.get(name))

    def as_json(self) -> dict[str, Any]:
        return {
            "depth": self.depth,
            "price_per_hour": self.price_per_hour,
            "models": [self._standing_as_json(standing) for standing in self.standings],
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
            "method": METHOD,
        }

    def _standing_as_json(self, standing: Standing) -> dict[str, Any]:
        row: dict[str, Any] = {"name": standing.name, "model": standing.model, "mean": dict(standing.mean)}
        if standing.against_first:
            row["against_first"] = differences_as_json(standing.against_first)
        if (cost := standing.cost) is not None:
            row["cost"] = {
                **asdict(cost),
                "seconds_per_100_documents": cost.seconds_per_100,
                "per_million_pairs": self.price_of(cost),
            }
        return row
