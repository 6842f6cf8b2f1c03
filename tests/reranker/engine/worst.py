"""Batches that need the most memory, as arrays."""

import numpy as np

from reranker.pairs import EncodedPairs, offsets


def pairs_of_lengths(
    prefix_lengths: list[int], prefix_of: list[int], passage_lengths: list[int], seed: int = 0, vocabulary: int = 1000
) -> EncodedPairs:
    """Random pairs of these lengths; prefixes of several tokens all differ."""
    random = np.random.default_rng(seed)
    return EncodedPairs(
        prefix_ids=random.integers(5, vocabulary, sum(prefix_lengths), dtype=np.int32),
        prefix_offsets=offsets(np.array(prefix_lengths)),
        prefix_of=np.array(prefix_of, dtype=np.int32),
        passage_ids=random.integers(5, vocabulary, sum(passage_lengths), dtype=np.int32),
        passage_offsets=offsets(np.array(passage_lengths)),
        candidate_of=np.arange(len(prefix_of), dtype=np.int32),
        truncated=np.zeros(len(prefix_of), dtype=bool),
    )


def own_queries(tokens: int, prefix: int, passage: int, seed: int = 0) -> EncodedPairs:
    """As many pairs as `tokens` allow, each with a query of its own."""
    count = tokens // (prefix + passage)
    return pairs_of_lengths([prefix] * count, list(range(count)), [passage] * count, seed)


def one_query(tokens: int, prefix: int, passage: int, seed: int = 0) -> EncodedPairs:
    count = tokens // (prefix + passage)
    return pairs_of_lengths([prefix], [0] * count, [passage] * count, seed)
