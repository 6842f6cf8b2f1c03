"""Batches that need the most memory, as arrays, and a shape whose prefixes take more of it than its weights."""

import numpy as np
from transformers import Qwen3Config

from reranker.pairs import EncodedPairs, offsets

QWEN3_06B = Qwen3Config(
    vocab_size=151_669,
    hidden_size=1024,
    intermediate_size=3072,
    num_hidden_layers=28,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=128,
    num_labels=1,
    pad_token_id=None,
)


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
