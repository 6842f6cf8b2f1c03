"""Which requests may join the queue, by the work they bring rather than by their number.

Knows nothing of clocks, Ray or HTTP; not thread-safe: one event loop owns it. Work is counted in tokens, estimated
before anything is tokenized, from admission until the answer is there.

The rule. The queue is full at `queue_s` seconds of work. Below that, a client with nothing queued is admitted; one
with queued work is admitted while that work stays within `client_share` times the room left (dynamic thresholds:
Choudhury and Hahne, 1998). So one client alone can use most of the queue, several share it equally, and some room
remains for a new one. A request of priority p sees a queue of 1 / (1 + p) the size (ours). An empty queue admits any
request. Queued work exceeds the limit by less than one request.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from reranker.errors import Overloaded
from reranker.settings import AdmissionSettings


class Reservation:
    """Tokens of one admitted request that are still queued or being scored."""

    __slots__ = ("tokens",)

    def __init__(self) -> None:
        self.tokens = 0


class Admission:
    """Tracks the work this process has admitted.

    tokens_per_s: this process's share of all replicas' throughput, set by the owner; infinite until it is measured,
    so that nothing is refused before.
    """

    def __init__(self, settings: AdmissionSettings) -> None:
        self._settings = settings
        self._client_tokens: defaultdict[str, int] = defaultdict(int)
        self.queued_tokens = 0
        self.tokens_per_s = math.inf
        self._refused_tokens = 0

    @property
    def limit_tokens(self) -> float:
        return self._settings.queue_s * self.tokens_per_s

    @property
    def drained_in_s(self) -> float:
        """Seconds until all work queued now is done."""
        return self.queued_tokens / self.tokens_per_s

    @contextmanager
    def admit(self, client: str, tokens: int, priority: int = 0) -> Iterator[Reservation]:
        """Reserve room for a request until the end of the block. Raises Overloaded when there is none."""
        if self.queued_tokens and not self._has_room(client, tokens, priority):
            self._refused_tokens += tokens
            raise Overloaded(self.drained_in_s)
        reservation = Reservation()
        self._add(client, reservation, tokens)
        try:
            yield reservation
        finally:
            self._add(client, reservation, -reservation.tokens)

    def done(self, client: str, reservation: Reservation, tokens: int) -> None:
        """Release the tokens of one part of an admitted request that has been answered."""
        self._add(client, reservation, -min(tokens, reservation.tokens))

    def take_refused(self) -> int:
        """Tokens refused since the last call; resets the count."""
        refused, self._refused_tokens = self._refused_tokens, 0
        return refused

    def _has_room(self, client: str, tokens: int, priority: int) -> bool:
        limit = self.limit_tokens / (1 + priority)
        if self.queued_tokens >= limit:
            return False
        queued = self._client_tokens.get(client, 0)
        return not queued or queued + tokens <= self._settings.client_share * (limit - self.queued_tokens)

    def _add(self, client: str, reservation: Reservation, tokens: int) -> None:
        """tokens: negative to release them."""
        reservation.tokens += tokens
        self._client_tokens[client] += tokens
        self.queued_tokens += tokens
        if not self._client_tokens[client]:
            del self._client_tokens[client]
