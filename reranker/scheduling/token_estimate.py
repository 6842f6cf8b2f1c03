"""Tokens of a request, estimated from the length of its texts before they are tokenized.

The estimate is ours: characters per token, learned from the texts scored so far, with exponential decay.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reranker.pairs import CandidateScores, IntArray
from reranker.types import MAX_WINDOWS, Cut, Passage, Query

# Used until texts have been scored; 4 is typical of English.
INITIAL_CHARS_PER_TOKEN = 4.0
INITIAL_MAX_PAIR_TOKENS = 512
_INITIAL_WEIGHT_TOKENS = 1_000.0  # texts of this many tokens weigh as much as the initial value
_DECAY_TOKENS = 100_000.0  # tokens scored after which a text weighs 1/e
_TEMPLATE_TOKENS = 8  # special tokens and template words of a pair, about


class TokenEstimate:
    """Learns characters per token from scored texts. Set `max_pair_tokens` once the model is known."""

    def __init__(self) -> None:
        self.max_pair_tokens = INITIAL_MAX_PAIR_TOKENS
        self._tokens = _INITIAL_WEIGHT_TOKENS
        self._chars = INITIAL_CHARS_PER_TOKEN * self._tokens

    @property
    def chars_per_token(self) -> float:
        return self._chars / self._tokens

    def tokens(self, query: Query, passages: Sequence[Passage], cut: Cut) -> IntArray:
        """Estimated tokens of each passage's pair, or of all its windows; int32 (passages,)."""
        limit = self.max_pair_tokens if isinstance(cut, str) else min(cut, self.max_pair_tokens)
        prefix: NDArray[np.float64] = np.minimum(
            limit / 2, _query_chars(query) / self.chars_per_token + _TEMPLATE_TOKENS
        )
        texts = _chars(passages) / self.chars_per_token
        if cut == "max_passage":
            windows = np.clip(np.ceil(texts / (limit - prefix)), 1, MAX_WINDOWS)
            cost = windows * prefix + np.minimum(texts, MAX_WINDOWS * (limit - prefix))
        else:
            cost = np.minimum(limit, prefix + texts)
        tokens: IntArray = np.ceil(cost).astype(np.int32)
        return tokens

    def learn(self, query: Query, passages: Sequence[Passage], scores: CandidateScores) -> None:
        """Update with the tokens these passages had; those of truncated and unscored ones are not known."""
        whole = ~scores.truncated & (scores.tokens > _TEMPLATE_TOKENS)
        tokens = float((scores.tokens[whole] - _TEMPLATE_TOKENS).sum())
        chars = float((_chars(passages) + _query_chars(query))[whole].sum())
        if not tokens or not chars:
            return
        decay = np.exp(-tokens / _DECAY_TOKENS)
        self._tokens = self._tokens * decay + tokens
        self._chars = self._chars * decay + chars


def _chars(passages: Sequence[Passage]) -> np.ndarray:
    return np.array([passage.chars for passage in passages], dtype=np.float64)


def _query_chars(query: Query) -> np.ndarray:
    """Of the one query, or of each passage's: (1,) or (passages,)."""
    return np.array([len(one) for one in ((query,) if isinstance(query, str) else query)], dtype=np.float64)
