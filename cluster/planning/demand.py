"""What is asked of the cluster: requests per second, or pairs of a job, and how long their texts are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from cluster.bench.roofline import Work, needed_work
from reranker.engine.shape import ModelShape
from reranker.errors import InvalidField
from reranker.scheduling.token_estimate import INITIAL_CHARS_PER_TOKEN

# Characters of a shard, the part of a request that one replica scores: the default of the graph's `shards.max_chars`.
SHARD_CHARS = 65_536


@dataclass(frozen=True, slots=True)
class Request:
    """One query with `documents` passages of `tokens` tokens each.

    query_tokens: of what precedes the passage in a pair, template and special tokens included.
    """

    documents: int
    tokens: int
    query_tokens: int

    @property
    def pair_tokens(self) -> int:
        return self.query_tokens + self.tokens

    def cut_to(self, max_pair_tokens: int) -> Request:
        """As the model reads it: longer documents are cut. Raises InvalidField where the query leaves no room."""
        if self.query_tokens >= max_pair_tokens:
            raise InvalidField(
                "--query-tokens",
                f"{self.query_tokens} leaves no room for a document: the model reads {max_pair_tokens} tokens a pair",
            )
        return replace(self, tokens=min(self.tokens, max_pair_tokens - self.query_tokens))

    def work(self, shape: ModelShape) -> Work:
        """FLOPs that its scores need: a decoder computes the query once for all documents."""
        return needed_work(
            shape,
            np.array([self.query_tokens], dtype=np.int32),
            np.zeros(self.documents, dtype=np.int32),
            np.full(self.documents, self.tokens, dtype=np.int32),
        )

    def shards(self, shard_chars: int) -> int:
        """How many calls the gateway makes of it, each for one replica."""
        return min(self.documents, ceil(self.documents * self.tokens * INITIAL_CHARS_PER_TOKEN / shard_chars))
