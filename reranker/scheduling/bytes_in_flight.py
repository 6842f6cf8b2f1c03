"""How many bytes of request bodies one process may hold.

Knows nothing of HTTP; not thread-safe: one event loop owns it.

The rule is that of `admission`: a client may hold at most `CLIENT_SHARE` times the room left. One client alone can
use three quarters, two can use three sevenths each, and some room remains for a new one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from reranker.errors import Overloaded

CLIENT_SHARE = 3
_RETRY_AFTER_S = 1.0  # when bodies will be released is not known


class HeldBytes:
    """The bytes that one request holds."""

    def __init__(self, budget: BytesInFlight, client: str) -> None:
        self._budget, self._client = budget, client
        self.count = 0

    def add(self, count: int) -> None:
        """Raises Overloaded, and holds no more than before, when the budget has no room for `count` bytes."""
        self._budget.take(self._client, count)
        self.count += count

    def release(self) -> None:
        self._budget.give(self._client, self.count)
        self.count = 0


class BytesInFlight:
    """The budget of one process. held: bytes of all requests."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._client_bytes: defaultdict[str, int] = defaultdict(int)
        self.held = 0

    @contextmanager
    def hold(self, client: str) -> Iterator[HeldBytes]:
        """Bytes added inside the block are held until its end."""
        held = HeldBytes(self, client)
        try:
            yield held
        finally:
            held.release()

    def take(self, client: str, count: int) -> None:
        """Raises Overloaded."""
        if self._client_bytes.get(client, 0) + count > CLIENT_SHARE * (self._limit - self.held - count):
            raise Overloaded(_RETRY_AFTER_S)
        self._client_bytes[client] += count
        self.held += count

    def give(self, client: str, count: int) -> None:
        self._client_bytes[client] -= count
        self.held -= count
        if not self._client_bytes[client]:
            del self._client_bytes[client]
