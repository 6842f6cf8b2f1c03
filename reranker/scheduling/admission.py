"""Which requests may join the queue: by the work they bring, not by their number.

Knows nothing of clocks, Ray or HTTP; one event loop owns it. Work is counted in tokens, as estimated before anything
is tokenized, from admission until the answer is there.

The rule. The queue is full at `queue_s` seconds of device work. Below that, a client that holds nothing is let in;
one that holds something may grow to `client_share` times the room that is left (dynamic thresholds: Choudhury and
Hahne, 1998). So a client alone can use most of the queue, many share it alike, the room never quite runs out, and
whoever is new finds a place. A request of priority p meets a queue of 1 / (1 + p) the size. Where nothing is queued,
anything is let in. What is queued exceeds the limit by less than one request.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from reranker.errors import Overloaded
from reranker.settings import AdmissionSettings


class Reservation:
    """The work of one admitted request that is not done yet."""

    __slots__ = ("tokens",)

    def __init__(self) -> None:
        self.tokens = 0


class Admission:
    """The account of what this process has let in. `tokens_per_s`: its share of what all replicas read; set it."""

    def __init__(self, settings: AdmissionSettings) -> None:
        self._settings = settings
        self._clients: defaultdict[str, int] = defaultdict(int)
        self.queued_tokens = 0
        self.tokens_per_s = math.inf  # until it was measured nothing is refused
        self._refused_tokens = 0

    @property
    def limit_tokens(self) -> float:
        return self._settings.queue_s * self.tokens_per_s

    @property
    def drained_in_s(self) -> float:
        """Until all that is queued now has been worked off."""
        return self.queued_tokens / self.tokens_per_s

    @contextmanager
    def admit(self, client: str, tokens: int, priority: int = 0) -> Iterator[Reservation]:
        """Holds the request's work until the end of the block. Raises Overloaded where it may not join the queue."""
        if self.queued_tokens and not self._has_room(client, tokens, priority):
            self._refused_tokens += tokens
            raise Overloaded(self.drained_in_s)
        reservation = Reservation()
        self._move(client, reservation, tokens)
        try:
            yield reservation
        finally:
            self._move(client, reservation, -reservation.tokens)

    def done(self, client: str, reservation: Reservation, tokens: int) -> None:
        """A part of an admitted request has its answer."""
        self._move(client, reservation, -min(tokens, reservation.tokens))

    def take_refused(self) -> int:
        """Tokens that were refused since the last time this was asked."""
        refused, self._refused_tokens = self._refused_tokens, 0
        return refused

    def _has_room(self, client: str, tokens: int, priority: int) -> bool:
        limit = self.limit_tokens / (1 + priority)
        if self.queued_tokens >= limit:
            return False
        holds = self._clients.get(client, 0)
        return not holds or holds + tokens <= self._settings.client_share * (limit - self.queued_tokens)

    def _move(self, client: str, reservation: Reservation, tokens: int) -> None:
        reservation.tokens += tokens
        self._clients[client] += tokens
        self.queued_tokens += tokens
        if not self._clients[client]:
            del self._clients[client]
