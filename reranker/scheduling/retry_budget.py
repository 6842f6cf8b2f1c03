"""How many retries a service can afford, so that a fault is not multiplied into a storm.

Source of the idea: the retry budgets of Finagle and gRPC, where calls earn retries.
"""

from __future__ import annotations

EARNED_PER_CALL = 0.5
MOST = 1_000.0


class RetryBudget:
    """Every call earns half a retry, up to a thousand; the first hundred are given."""

    def __init__(self) -> None:
        self._retries = 100.0

    def earn(self) -> None:
        self._retries = min(MOST, self._retries + EARNED_PER_CALL)

    def spend(self) -> bool:
        """Whether one more retry is affordable; it is paid for if so."""
        if self._retries < 1:
            return False
        self._retries -= 1
        return True
