"""How many retries a service can afford, so that a fault does not grow into a retry storm.

Source of the idea: the retry budgets of Finagle and gRPC, where calls earn retries. The numbers are ours.
"""

from __future__ import annotations

INITIAL_RETRIES = 100.0
RETRIES_PER_CALL = 0.5
MAX_RETRIES = 1_000.0


class RetryBudget:
    """Starts with INITIAL_RETRIES; every call earns RETRIES_PER_CALL, up to MAX_RETRIES in all."""

    def __init__(self) -> None:
        self._retries = INITIAL_RETRIES

    def earn(self) -> None:
        self._retries = min(MAX_RETRIES, self._retries + RETRIES_PER_CALL)

    def spend(self) -> bool:
        """Take one retry from the budget; False when less than one is left."""
        if self._retries < 1:
            return False
        self._retries -= 1
        return True
