"""How fast does a device read, when it is given enough at once?"""

from __future__ import annotations

import math

MEMORY_S = 10.0  # of device time: older passes hardly count


class Throughput:
    """Tokens a second of full batches, from passes of any size.

    A batch that is not full reads slower, and says nothing of what a full one would take: it counts only where it
    proves the device to be faster than was known.
    """

    def __init__(self, max_batch_tokens: int) -> None:
        self._full = max_batch_tokens / 2
        self._tokens = 0.0
        self._seconds = 0.0

    @property
    def tokens_per_s(self) -> float:
        """0 before anything was read."""
        return self._tokens / self._seconds if self._seconds else 0.0

    def observe(self, tokens: int, seconds: float) -> None:
        """A pass of `tokens` took `seconds` of the device."""
        seconds = max(seconds, 1e-6)
        if tokens < self._full and tokens / seconds < self.tokens_per_s:
            return
        kept = math.exp(-seconds / MEMORY_S)
        self._tokens = self._tokens * kept + tokens
        self._seconds = self._seconds * kept + seconds
