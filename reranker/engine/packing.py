"""Which pairs share a forward pass. Pure functions over lengths; no torch, no texts.

Source of the idea: length-sorted token budgets, as in fairseq's `batch_by_size`. `pack_evenly` is ours.
"""

import math

import numpy as np
from numpy.typing import NDArray


def pack(lengths: NDArray[np.integer], max_batch_tokens: int, *, padded: bool) -> list[NDArray[np.intp]]:
    """Split pairs into batches of at most `max_batch_tokens`, longest pairs first.

    lengths: (pairs,), tokens of each pair. padded: whether a batch costs its size times its longest pair, rather than
    the sum of its lengths. Every pair is in exactly one batch; a pair longer than the budget gets a batch of its own.
    Ties keep input order, so the result is a pure function of the lengths.
    """
    batches: list[NDArray[np.intp]] = []
    order = _longest_first(lengths)
    start = 0
    while start < len(order):
        rest = lengths[order[start:]].astype(np.int64)
        cost = rest[0] * np.arange(1, len(rest) + 1) if padded else np.cumsum(rest)
        size = max(1, int(np.searchsorted(cost, max_batch_tokens, side="right")))
        batches.append(order[start : start + size])
        start += size
    return batches


def pack_evenly(lengths: NDArray[np.integer], batch_tokens: int, workers: int) -> list[NDArray[np.intp]]:
    """Split pairs into batches of about equal tokens, the same number for each worker, longest pairs first.

    lengths: (pairs,), tokens of each pair. A batch exceeds `batch_tokens` by at most one pair. Every pair is in
    exactly one batch, ties keep input order, and no batch is empty: few pairs give fewer batches.
    """
    order = _longest_first(lengths)
    ends = np.cumsum(lengths[order].astype(np.int64))
    total = int(ends[-1]) if len(ends) else 0
    count = workers * max(1, math.ceil(total / (batch_tokens * workers)))
    middles = ends - lengths[order] / 2
    cuts = np.searchsorted(middles, total / count * np.arange(1, count))
    return [batch for batch in np.split(order, cuts) if len(batch)]


def _longest_first(lengths: NDArray[np.integer]) -> NDArray[np.intp]:
    return np.argsort(-lengths.astype(np.int64), kind="stable")
