"""Targets from the scores of one or several teachers, normalised per query."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from reranker.errors import InvalidField
from reranker.pairs import FloatArray
from reranker.training.groups import Groups
from reranker.training.settings import TeacherSettings

FIRST_STAGE = "first_stage"


def targets(groups: Groups, scores: Mapping[str, FloatArray], settings: TeacherSettings) -> FloatArray:
    """One target per candidate, float32 (candidates,), NaN where a teacher has no score.

    scores: name of a teacher -> float32 (candidates,), NaN where it has none. The first stage scores a candidate that
    it did not find as its query's lowest. Raises InvalidField for a weight without scores.
    """
    total = np.zeros(len(groups.labels), dtype=np.float64)
    for name, weight, normalise in settings.parts():
        if name not in scores:
            raise InvalidField("teacher.weights", f"no teacher {name!r}: there are {', '.join(sorted(scores))}")
        values = scores[name].astype(np.float64)
        if name == FIRST_STAGE:
            values = _lowest_where_missing(groups, values)
        total += weight * normalised(groups, values, normalise)
    total = total * settings.scale + settings.positive_bonus * groups.labels
    return total.astype(np.float32)


def normalised(groups: Groups, values: NDArray[np.float64], how: str) -> NDArray[np.float64]:
    """Values normalised within each query; NaN stays NaN, and equal values become 0 under "zscore"."""
    if how == "none":
        return values
    real = np.isfinite(values)
    filled = np.where(real, values, 0.0)
    counts = np.maximum(_sums(groups, real.astype(np.float64)), 1)
    if how == "max":
        highest = _of_queries(groups, np.maximum, np.where(real, values, -np.inf))
        return values / _spread(groups, np.where(np.isfinite(highest) & (highest > 0), highest, 1.0))
    means = _sums(groups, filled) / counts
    centred = np.where(real, values - _spread(groups, means), 0.0)
    deviations = np.sqrt(_sums(groups, centred**2) / counts)
    scaled = centred / _spread(groups, np.where(deviations > 1e-9, deviations, 1.0))
    return np.where(real, scaled, np.nan)


def _lowest_where_missing(groups: Groups, values: NDArray[np.float64]) -> NDArray[np.float64]:
    lowest = _of_queries(groups, np.minimum, np.where(np.isfinite(values), values, np.inf))
    return np.where(np.isfinite(values), values, _spread(groups, np.where(np.isfinite(lowest), lowest, 0.0)))


def _sums(groups: Groups, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.diff(np.concatenate(([0.0], np.cumsum(values)))[groups.offsets])


def _of_queries(groups: Groups, function: np.ufunc, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """function.reduce of each query's values; 0 for a query without candidates. (queries,)"""
    result = np.zeros(len(groups))
    filled = np.flatnonzero(np.diff(groups.offsets))
    if len(filled):
        result[filled] = function.reduceat(values, groups.offsets[:-1][filled])
    return result


def _spread(groups: Groups, per_query: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.repeat(per_query, np.diff(groups.offsets))
