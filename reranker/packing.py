"""Which pairs share a forward pass. Pure functions over lengths; no torch, no texts.

Source of the idea: length-sorted token budgets, as in fairseq's `batch_by_size`.
"""

import numpy as np
from numpy.typing import NDArray


def pack(lengths: NDArray[np.integer], max_batch_tokens: int, *, padded: bool) -> list[NDArray[np.intp]]:
    """Split pairs into batches of at most `max_batch_tokens`, longest pairs first.

    lengths: (pairs,), tokens of each pair. padded: a batch costs its longest pair times its size, else the sum of
    its lengths. Every pair is in exactly one batch; a pair longer than the budget gets a batch of its own. Ties
    keep input order, so the result is a pure function of the lengths.
    """
    batches: list[NDArray[np.intp]] = []
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    start = 0
    while start < len(order):
        rest = lengths[order[start:]].astype(np.int64)
        cost = rest[0] * np.arange(1, len(rest) + 1) if padded else np.cumsum(rest)
        size = max(1, int(np.searchsorted(cost, max_batch_tokens, side="right")))
        batches.append(order[start : start + size])
        start += size
    return batches
