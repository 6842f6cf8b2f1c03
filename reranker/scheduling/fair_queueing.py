"""Whose turn is it? Fair queueing over members that pay for their turns.

Knows nothing of what a turn buys: the caller says what it cost.

Source: self-clocked fair queueing (Golestani, 1994). Who joins starts level with the turn that was given last: nobody
is owed for a time when it was not there, and a stream of newcomers cannot hold up those who wait. Beyond it, whoever
joins pays less at first, so that large pieces of work slow a small one down less than each other.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

Member = TypeVar("Member")

HEAD_START_PRICE = 0.25


class FairQueue(Generic[Member]):
    """Members that always want a turn. Over any stretch of time all of them are charged alike, to within one turn.

    head_start: of what a member is charged since it joined, so much counts a quarter.
    """

    def __init__(self, head_start: float) -> None:
        self._head_start = head_start
        # A heap: virtual time of the next turn, arrival, member, what it was charged since it joined.
        self._due: list[tuple[float, int, Member, float]] = []
        self._arrivals = itertools.count()
        self._now = 0.0

    def __bool__(self) -> bool:
        return bool(self._due)

    def join(self, member: Member) -> None:
        heapq.heappush(self._due, (self._now, next(self._arrivals), member, 0.0))

    def first(self) -> Member:
        """The member whose turn it is. There must be one."""
        return self._due[0][2]

    def charge(self, cost: float) -> None:
        """The first member has had its turn, and goes back in line."""
        due, arrival, member, charged = self._due[0]
        charged += cost
        due += cost * HEAD_START_PRICE if charged <= self._head_start else cost
        self._now = max(self._now, due)
        heapq.heapreplace(self._due, (due, arrival, member, charged))

    def leave(self) -> None:
        """The first member wants no more turns."""
        heapq.heappop(self._due)
