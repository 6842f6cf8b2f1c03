"""Groups of candidates: one query, some of its candidates, their labels and teacher scores, as one step reads them.

Which groups and candidates a step takes depends on the seed, the step and the query alone, so runs repeat, resume in
the middle of an epoch, and are the same however many workers share a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reranker.pairs import BoolArray, FloatArray, IntArray, OffsetArray


@dataclass(frozen=True, slots=True)
class Groups:
    """The candidates of all queries, concatenated.

    offsets: int64 (queries + 1,). passages: int32 (candidates,), positions in the corpus. labels: float32
    (candidates,), above 0 for a positive. teacher: float32 (candidates,), NaN where the teacher has no score; None
    without a teacher.
    """

    offsets: OffsetArray
    passages: IntArray
    labels: FloatArray
    teacher: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def candidates_of(self, query: int) -> slice:
        return slice(int(self.offsets[query]), int(self.offsets[query + 1]))


@dataclass(frozen=True, slots=True)
class SampledGroup:
    """What one step reads of one query. passages: int32; labels, teacher: float32; all (candidates,)."""

    query: int
    passages: IntArray
    labels: FloatArray
    teacher: FloatArray


def usable_queries(groups: Groups) -> NDArray[np.int64]:
    """Queries that can teach something: with a teacher two candidates that it scored, else a positive and another."""
    starts, counts = groups.offsets[:-1], np.diff(groups.offsets)
    filled = counts > 0
    at = starts[filled]
    enough = np.zeros(len(groups), dtype=bool)
    if groups.teacher is not None:
        enough[filled] = np.add.reduceat(np.isfinite(groups.teacher).astype(np.int64), at) > 1
    else:
        positives = np.add.reduceat((groups.labels > 0).astype(np.int64), at)
        enough[filled] = (positives > 0) & (counts[filled] > positives)
    return np.flatnonzero(enough)


def queries_of_step(queries: NDArray[np.int64], step: int, queries_per_step: int, seed: int) -> NDArray[np.int64]:
    """The queries of a step, int64 (queries_per_step,): epochs are permutations of all queries, one after another."""
    at = np.arange(step * queries_per_step, (step + 1) * queries_per_step)
    epochs, places = np.divmod(at, len(queries))
    orders = {epoch: np.random.default_rng((seed, epoch)).permutation(len(queries)) for epoch in np.unique(epochs)}
    return queries[[orders[epoch][place] for epoch, place in zip(epochs, places, strict=True)]]


def sample(
    groups: Groups, query: int, negatives: int, seed: Sequence[int], false_negative_margin: float | None = None
) -> SampledGroup:
    """One positive, if there is any, and up to `negatives` others of a query, in random order.

    false_negative_margin: a candidate without a label that the teacher scores within this of the positive, or above
    it, is taken for an unlabelled positive and left out; None keeps all.
    """
    random = np.random.default_rng([*seed, query])
    span = groups.candidates_of(query)
    labels = groups.labels[span]
    teacher = np.zeros(len(labels), dtype=np.float32) if groups.teacher is None else groups.teacher[span]
    scored: BoolArray = np.isfinite(teacher)
    positives, others = np.flatnonzero(scored & (labels > 0)), np.flatnonzero(scored & (labels <= 0))
    chosen = random.permutation(positives)[:1]
    if false_negative_margin is not None and groups.teacher is not None and len(chosen):
        others = others[teacher[others] < teacher[chosen[0]] - false_negative_margin]
    kept = np.concatenate((chosen, random.permutation(others)[:negatives]))
    return SampledGroup(query, groups.passages[span][kept], labels[kept], teacher[kept])


def padded(parts: Sequence[NDArray[np.float32]]) -> tuple[FloatArray, BoolArray]:
    """Arrays of several lengths as float32 (parts, longest), 0 where padded, and a mask of what is real."""
    longest = max(map(len, parts), default=0)
    values = np.zeros((len(parts), longest), dtype=np.float32)
    real = np.zeros((len(parts), longest), dtype=bool)
    for row, part in enumerate(parts):
        values[row, : len(part)] = part
        real[row, : len(part)] = True
    return values, real
