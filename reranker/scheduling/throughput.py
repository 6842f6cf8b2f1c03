"""A device's throughput with full batches, measured from the forward passes it runs.

The estimate is ours: tokens over seconds, both decaying exponentially with device time.
"""

from __future__ import annotations

import math

DECAY_S = 10.0  # device time after which a pass weighs 1/e
MIN_FULL = 0.5  # share of max_batch_tokens from which a batch counts as full


class Throughput:
    """Tokens per second of full batches.

    Small batches run below a device's throughput, so they count only where they beat the current estimate.
    """

    def __init__(self, max_batch_tokens: int) -> None:
        self._full_tokens = max_batch_tokens * MIN_FULL
        self._tokens = 0.0
        self._seconds = 0.0

    @property
    def tokens_per_s(self) -> float:
        """0 before the first pass."""
        return self._tokens / self._seconds if self._seconds else 0.0

    def observe(self, tokens: int, seconds: float) -> None:
        """Record a forward pass over `tokens` that took `seconds` of device time."""
        seconds = max(seconds, 1e-6)
        if tokens < self._full_tokens and tokens / seconds < self.tokens_per_s:
            return
        decay = math.exp(-seconds / DECAY_S)
        self._tokens = self._tokens * decay + tokens
        self._seconds = self._seconds * decay + seconds
