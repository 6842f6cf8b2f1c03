"""Whose turn is it? Start-time fair queueing over members with equal rights (Goyal et al., 1996).

Knows nothing of what a turn buys: the caller says what it cost.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

Member = TypeVar("Member")


class Turns(Generic[Member]):
    """Members that always want a turn. Over any stretch of time all of them are charged alike, to within one turn.

    Who joins late starts level with the others: nobody owes it the turns that it was not there for.
    """

    def __init__(self) -> None:
        # A heap: virtual time of the next turn, arrival, member.
        self._due: list[tuple[float, int, Member]] = []
        self._arrivals = itertools.count()
        self._now = 0.0

    def __bool__(self) -> bool:
        return bool(self._due)

    def join(self, member: Member) -> None:
        heapq.heappush(self._due, (self._now, next(self._arrivals), member))

    def first(self) -> Member:
        """The member whose turn it is. There must be one."""
        return self._due[0][2]

    def charge(self, cost: float) -> None:
        """The first member has had its turn, and goes back in line."""
        self._now, arrival, member = self._due[0]
        heapq.heapreplace(self._due, (self._now + cost, arrival, member))

    def leave(self) -> None:
        """The first member wants no more turns."""
        heapq.heappop(self._due)
