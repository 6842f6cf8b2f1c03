"""How many replicas the work needs.

Knows nothing of Ray and has no clock: what is seen of a deployment goes in, a number of replicas comes out. Work is
counted in tokens, because a request of 1,000 documents is not a request of one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat

from reranker.settings import Settings

_FORGET = 0.99  # of the tokens and calls seen together, at each observation
_ROUNDING = 1e-9
_UNHEARD_OF = 1e15  # replicas: what a replica of no speed at all would ask for has no number
_WORTH = 0.9  # fewer replicas only where it saves a tenth: one that is wanted again costs a start-up


class AutoscalingSettings(Settings):
    """`policy_kwargs` of a Serve config."""

    renamed_fields: ClassVar[Mapping[str, str]] = {"remember_s": "downscale_window_s"}

    target_queue_wait_s: PositiveFloat = Field(2.0, description="Longest time that work should wait for a replica.")
    target_utilisation: float = Field(
        0.8, gt=0, le=1, description="Share of the replicas' speed to plan with; the rest takes what fluctuates."
    )
    startup_s: NonNegativeFloat = Field(60.0, description="From the order of a replica to its first batch.")
    rate_window_s: PositiveFloat = Field(10.0, description="Arrivals are counted over so long.")
    downscale_window_s: NonNegativeFloat = Field(
        300.0, description="Never fewer replicas than were wanted in so long."
    )
    idle_s: NonNegativeFloat = Field(
        600.0, description="Without work for so long: no replica, where that is allowed."
    )
    tokens_per_s: PositiveFloat = Field(10_000.0, description="Speed of a replica, until one has measured its own.")
    tokens_per_call: PositiveFloat = Field(8_000.0, description="Tokens of a call, until calls were seen at work.")


@dataclass(frozen=True, slots=True)
class Observation:
    """What is seen of a deployment at one moment. Tokens are those of all replicas together.

    target: replicas ordered so far, the running ones among them. backlog_tokens: queued or on a device.
    arrived_tokens: a counter, of which only the growth is read. running_calls: at replicas; waiting_calls: at
    handles, not yet at a replica. tokens_per_s: of one replica, 0 when none has measured it. min_replicas,
    max_replicas: bounds.
    """

    now_s: float
    running: int
    target: int
    backlog_tokens: float
    arrived_tokens: float
    tokens_per_s: float
    running_calls: float
    waiting_calls: float
    min_replicas: int
    max_replicas: int


@dataclass(frozen=True, slots=True)
class Demand:
    """The numbers that decide. capacity_tokens: what replicas running and ordered can do within `startup_s`."""

    backlog_tokens: float
    arrival_tokens_per_s: float
    tokens_per_s: float
    capacity_tokens: float


def replicas_wanted(demand: Demand, settings: AutoscalingSettings) -> int:
    """Enough for what arrives, and for the backlog that those already there or ordered will leave.

    A replica ordered now works after `startup_s`. What is left then, if the arrivals go on, is to be gone within the
    target, or within a third of the start-up where that is longer: to be faster takes many replicas, most of which
    have nothing to do soon after they have come. Replicas on their way are in `capacity_tokens`, so that the same
    backlog does not order twice.
    """
    arrival = demand.arrival_tokens_per_s
    left = demand.backlog_tokens + arrival * settings.startup_s - demand.capacity_tokens
    catching_up = arrival + max(0.0, left) / max(settings.target_queue_wait_s, settings.startup_s / 3)
    needed = max(arrival / settings.target_utilisation, catching_up) / demand.tokens_per_s
    return math.ceil(min(needed, _UNHEARD_OF) - _ROUNDING)


class Autoscaler:
    """Decides for one deployment, and remembers what that takes: arrivals, orders, and what was wanted."""

    def __init__(self, settings: AutoscalingSettings) -> None:
        self.settings = settings
        self.demand = Demand(0.0, 0.0, settings.tokens_per_s, 0.0)
        self._now_s = -math.inf
        self._target = self._answer = 0
        self._worked_s = -math.inf
        # Tokens per call is the ratio of two sums that forget: weighed by work, not by observation.
        self._seen_tokens, self._seen_calls = settings.tokens_per_call, 1.0
        self._arrivals: deque[tuple[float, float]] = deque()  # (when, tokens that had come by then)
        self._orders: deque[tuple[float, int]] = deque()  # (when they will work, replicas)
        self._wanted: deque[tuple[float, int]] = deque()  # falling: the first is the most of `downscale_window_s`

    def decide(self, seen: Observation) -> int:
        """Replicas to have, within the bounds: more at once, fewer when `downscale_window_s` has not needed them.

        Zero only after `idle_s` without work, and from one: Ray takes the last step alone.
        """
        first = self._now_s == -math.inf
        self._now_s = now = max(self._now_s, seen.now_s)
        waiting_tokens = seen.waiting_calls * self._tokens_per_call(seen)
        grown = self._count_arrivals(seen.arrived_tokens + waiting_tokens)
        self._match_orders(seen)
        tokens_per_s = seen.tokens_per_s or self.demand.tokens_per_s
        self.demand = Demand(
            backlog_tokens=seen.backlog_tokens + waiting_tokens,
            arrival_tokens_per_s=self._arrival_tokens_per_s(),
            tokens_per_s=tokens_per_s,
            capacity_tokens=self._capacity_tokens(seen.running, tokens_per_s),
        )
        # What others have ordered counts as wanted: the initial replicas, and Ray's own start from zero.
        ordered_by_others = first or seen.target > max(self._target, self._answer)
        if ordered_by_others or grown or self.demand.backlog_tokens > 0:
            self._worked_s = now
        wanted = replicas_wanted(self.demand, self.settings)
        self._remember(max(wanted, seen.target) if ordered_by_others else wanted)
        answer = self._wanted[0][1]
        if _WORTH * seen.target < answer < seen.target:
            answer = seen.target
        may_be_zero = now - self._worked_s >= self.settings.idle_s and seen.target <= 1
        if seen.target > 0 and not may_be_zero:
            answer = max(1, answer)
        self._target, self._answer = seen.target, min(max(answer, seen.min_replicas), seen.max_replicas)
        return self._answer

    def _tokens_per_call(self, seen: Observation) -> float:
        if seen.running_calls < 1:
            return self._seen_tokens / self._seen_calls
        self._seen_tokens = _FORGET * self._seen_tokens + seen.backlog_tokens
        self._seen_calls = _FORGET * self._seen_calls + seen.running_calls
        return self._seen_tokens / self._seen_calls

    def _count_arrivals(self, came_tokens: float) -> bool:
        """Whether any has come since the last time."""
        grown = bool(self._arrivals) and came_tokens > self._arrivals[-1][1]
        self._arrivals.append((self._now_s, came_tokens))
        while len(self._arrivals) > 2 and self._arrivals[1][0] <= self._now_s - self.settings.rate_window_s:
            self._arrivals.popleft()
        return grown

    def _arrival_tokens_per_s(self) -> float:
        """Over the whole window even before it is full: the first call of a life is no rate."""
        came = self._arrivals[-1][1] - self._arrivals[0][1]
        return max(0.0, came) / max(self.settings.rate_window_s, self._arrivals[-1][0] - self._arrivals[0][0])

    def _match_orders(self, seen: Observation) -> None:
        """Those that have come up are taken for the oldest; what is new was ordered just now."""
        missing = max(0, seen.target - seen.running)
        known = sum(count for _, count in self._orders)
        while known > missing:
            ready_s, count = self._orders.popleft()
            done = min(count, known - missing)
            known -= done
            if count > done:
                self._orders.appendleft((ready_s, count - done))
        if missing > known:
            self._orders.append((self._now_s + self.settings.startup_s, missing - known))

    def _capacity_tokens(self, running: int, tokens_per_s: float) -> float:
        """Replicas that are late are expected at once: ordering others would not bring them sooner."""
        startup_s = self.settings.startup_s
        coming = sum(count * min(startup_s, self._now_s + startup_s - ready_s) for ready_s, count in self._orders)
        return (running * startup_s + coming) * tokens_per_s

    def _remember(self, wanted: int) -> None:
        while self._wanted and self._wanted[-1][1] <= wanted:
            self._wanted.pop()
        self._wanted.append((self._now_s, wanted))
        while self._wanted[0][0] < self._now_s - self.settings.downscale_window_s:
            self._wanted.popleft()


class CounterIncrease:
    """The sum of many counters, some of which begin again at zero, vanish or are not reported for a while."""

    def __init__(self) -> None:
        self.total = 0.0
        self._last: dict[Hashable, float] = {}
        self._older: frozenset[Hashable] | None = None  # counters that were there before us

    def add(self, counters: Mapping[Hashable, float], alive: Collection[Hashable]) -> float:
        """The growth since the first call: what stood on the counters by then is not counted.

        alive: whose counters exist, reported or not; the others are forgotten.
        """
        if self._older is None:
            self._older = frozenset(alive) | counters.keys()
        for name, count in counters.items():
            before = self._last.get(name, count if name in self._older else 0.0)
            self.total += count - before if count >= before else count
            self._last[name] = count
        if len(self._last) > len(counters):
            keep = counters.keys() | set(alive)
            self._last = {name: count for name, count in self._last.items() if name in keep}
        return self.total
