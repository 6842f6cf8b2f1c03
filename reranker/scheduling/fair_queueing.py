"""Fair queueing: which member is served next.

A member's virtual time is the queue's clock when it joined, plus cost times price of the work it was served since.
The member with the lowest virtual time is served next, so over time members get shares proportional to 1 / price.
Knows nothing of what is served: the caller says what it cost.

Source: self-clocked fair queueing (Golestani, 1994). The clock advances with the work served, so a new member gets no
credit for the time before, and a stream of new members cannot starve those that wait. Two rules are ours. The clock
ignores prices: a member with a high price delays itself, not those that join after it. And a new member's first work
is charged at a quarter, so that a small request waits less behind large ones.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

Member = TypeVar("Member")

HEAD_START_PRICE = 0.25


class FairQueue(Generic[Member]):
    """Members that always have work; over time their shares are proportional to 1 / price, to within one piece of it.

    head_start: cost since joining up to which a member is charged at HEAD_START_PRICE.
    """

    def __init__(self, head_start: float) -> None:
        self._head_start = head_start
        # (virtual time, number for ties, member, cost since it joined); heap[0] is served next.
        self._heap: list[tuple[float, int, Member, float]] = []
        self._numbers = itertools.count()
        self._clock = 0.0

    def __bool__(self) -> bool:
        return bool(self._heap)

    def join(self, member: Member) -> None:
        heapq.heappush(self._heap, (self._clock, next(self._numbers), member, 0.0))

    def first(self) -> Member:
        """The member to serve next. Raises IndexError when there is none."""
        return self._heap[0][2]

    def charge(self, cost: float, price: float = 1.0) -> None:
        """Charge the first member for the work it was served. price: factor on the cost."""
        virtual_time, number, member, charged = self._heap[0]
        charged += cost
        discounted = cost * HEAD_START_PRICE if charged <= self._head_start else cost
        self._clock = max(self._clock, virtual_time + discounted)
        heapq.heapreplace(self._heap, (virtual_time + discounted * price, number, member, charged))

    def leave(self) -> None:
        """Remove the first member."""
        heapq.heappop(self._heap)
