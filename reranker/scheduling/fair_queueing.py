"""Fair queueing: which member is served next.

A member's virtual time is the queue's clock when it joined, plus cost times price of the work it was served since.
The member with the lowest virtual time is served next, so over time members get shares proportional to 1 / price.
Knows nothing of what is served: the caller says what it cost.

Source: self-clocked fair queueing (Golestani, 1994). The clock advances with the work served, so a new member gets no
credit for the time before, and a stream of new members cannot starve those that wait. Three rules are ours. The clock
ignores prices: a member with a high price delays itself, not those that join after it. A new member's first work
is charged at a quarter, so that it waits less behind those that never stop. And a member with a name that comes back
has what was left of this head start, and gets the rest back as the clock advances.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

Member = TypeVar("Member")

HEAD_START_PRICE = 0.25


class FairQueue(Generic[Member]):
    """Members that always have work; over time their shares are proportional to 1 / price, to within one piece of it.

    head_start: cost up to which a member is charged at HEAD_START_PRICE after it joined, less what it used before.
    """

    def __init__(self, head_start: float) -> None:
        self._head_start = head_start
        # (virtual time, number for ties, member, its name, cost that its head start was used for); heap[0] is next.
        self._heap: list[tuple[float, int, Member, str, float]] = []
        self._numbers = itertools.count()
        self._clock = 0.0
        # By name, the one that left first in front: head start used up by then, and the clock.
        self._left: dict[str, tuple[float, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._heap)

    def join(self, member: Member, name: str = "") -> None:
        """name: of a member that may leave and come back; '' for one that will not."""
        used, left_at = self._left.pop(name, (0.0, 0.0))
        used = max(0.0, used - (self._clock - left_at))
        heapq.heappush(self._heap, (self._clock, next(self._numbers), member, name, used))

    def first(self) -> Member:
        """The member to serve next. Raises IndexError when there is none."""
        return self._heap[0][2]

    def charge(self, cost: float, price: float = 1.0) -> None:
        """Charge the first member for the work it was served. price: factor on the cost."""
        virtual_time, number, member, name, used = self._heap[0]
        used += cost
        discounted = cost * HEAD_START_PRICE if used <= self._head_start else cost
        self._clock = max(self._clock, virtual_time + discounted)
        heapq.heapreplace(self._heap, (virtual_time + discounted * price, number, member, name, used))

    def leave(self) -> None:
        """Remove the first member. Once all have left, none is remembered."""
        *_, name, used = heapq.heappop(self._heap)
        if name:
            self._left[name] = (min(used, self._head_start), self._clock)
        regained = self._clock - self._head_start
        while self._left and (not self._heap or next(iter(self._left.values()))[1] <= regained):
            del self._left[next(iter(self._left))]
