"""What will a request cost? Tokens, told from the length of its texts before anything is tokenized."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reranker.pairs import CandidateScores, IntArray
from reranker.types import Passage, Truncation

FIRST_CHARS_PER_TOKEN = 4.0  # English; what comes is learned
FIRST_MAX_PAIR_TOKENS = 512
_MEMORY_TOKENS = 100_000.0  # older texts hardly count
_TEMPLATE_TOKENS = 8


class TokenEstimate:
    """Learns how many characters make a token from the texts that were scored."""

    def __init__(self) -> None:
        self.max_pair_tokens = FIRST_MAX_PAIR_TOKENS
        self._tokens = 1_000.0
        self._chars = FIRST_CHARS_PER_TOKEN * self._tokens

    @property
    def chars_per_token(self) -> float:
        return self._chars / self._tokens

    def tokens(self, query: str, passages: Sequence[Passage], truncation: Truncation) -> IntArray:
        """Tokens of each passage's pair, or of all its windows; int32 (passages,)."""
        limit = self.max_pair_tokens
        prefix = min(limit / 2, len(query) / self.chars_per_token + _TEMPLATE_TOKENS)
        texts = _lengths(passages) / self.chars_per_token
        if truncation == "max_passage":
            windows = np.maximum(1, np.ceil(texts / (limit - prefix)))
            cost = windows * prefix + texts
        else:
            cost = np.minimum(limit, prefix + texts)
        return np.ceil(cost).astype(np.int32)

    def learn(self, query: str, passages: Sequence[Passage], scores: CandidateScores) -> None:
        """Take in what these passages really came to. Those that were cut tell nothing."""
        whole = ~scores.truncated & (scores.tokens > _TEMPLATE_TOKENS)
        tokens = float((scores.tokens[whole] - _TEMPLATE_TOKENS).sum())
        chars = float((_lengths(passages)[whole] + len(query)).sum())
        if not tokens or not chars:
            return
        kept = np.exp(-tokens / _MEMORY_TOKENS)
        self._tokens = self._tokens * kept + tokens
        self._chars = self._chars * kept + chars


def _lengths(passages: Sequence[Passage]) -> np.ndarray:
    return np.array([passage.chars for passage in passages], dtype=np.float64)
