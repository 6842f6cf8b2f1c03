"""Cuts a request's passages into shards of about equal text: the unit that Serve queues and routes."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import ceil

from reranker.types import Passage, Query

_OVERHEAD_CHARS = 32  # per passage, so that many empty passages still fill a shard


def shard(passages: Sequence[Passage], max_chars: int, query: Query = "") -> Iterator[slice]:
    """Slices in input order that cover every passage once.

    A shard has at most `max_chars` characters, or one passage. Shards are of similar size. query: counts where each
    passage has its own.
    """
    costs = [passage.chars + _OVERHEAD_CHARS for passage in passages]
    if not isinstance(query, str):
        costs = [cost + len(own) for cost, own in zip(costs, query, strict=True)]
    total = sum(costs)
    target = total / max(1, ceil(total / max_chars))
    start = 0
    before = [0, *accumulate(costs)]
    for end in range(1, len(costs) + 1):
        full = before[end] - before[start] >= target
        if end == len(costs) or full or before[end + 1] - before[start] > max_chars:
            yield slice(start, end)
            start = end
