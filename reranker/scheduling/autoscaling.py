"""How many replicas a deployment needs for its work.

Knows nothing of Ray and has no clock: an observation of the deployment goes in, a number of replicas comes out. Work
is counted in tokens, because a request with 1,000 documents costs more than a request with one.

Source: scaling down to the maximum wanted within a window is the stabilization window of Kubernetes' Horizontal Pod
Autoscaler. The demand formula (`replicas_wanted`) is ours.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat

from reranker.settings import Settings

_CALL_SIZE_DECAY = 0.99  # weight of the earlier observations in tokens per call, at each new one
_ROUNDING = 1e-9  # replicas: a rounding error does not add one
_MAX_REPLICAS = 1e15  # cap: avoids inf when tokens_per_s is close to 0
_DOWNSCALE_BELOW = 0.9  # of the target: saving less is not worth the startup of a replica needed again soon


class AutoscalingSettings(Settings):
    """`policy_kwargs` of a Serve config."""

    renamed_fields: ClassVar[Mapping[str, str]] = {"remember_s": "downscale_window_s"}

    target_queue_wait_s: PositiveFloat = Field(2.0, description="Max time that work should wait for a replica.")
    target_utilisation: float = Field(
        0.8, gt=0, le=1, description="Share of the replicas' throughput to plan with; the rest absorbs fluctuations."
    )
    startup_s: NonNegativeFloat = Field(60.0, description="Time from the request for a replica to its first batch.")
    rate_window_s: PositiveFloat = Field(10.0, description="Window over which the arrival rate is measured.")
    downscale_window_s: NonNegativeFloat = Field(
        300.0, description="Scale down only to the max number of replicas wanted in this window."
    )
    idle_s: NonNegativeFloat = Field(
        600.0, description="Scale to zero after this time without work, if min_replicas is 0."
    )
    tokens_per_s: PositiveFloat = Field(
        10_000.0, description="Throughput of a replica, until one has measured its own."
    )
    tokens_per_call: PositiveFloat = Field(
        8_000.0, description="Tokens of a call, until running calls were observed."
    )


@dataclass(frozen=True, slots=True)
class Observation:
    """State of a deployment at one moment. Tokens are summed over all replicas.

    target: replicas requested so far, including the running ones. backlog_tokens: queued or on a device.
    arrived_tokens: a counter; only its increase is used. running_calls: at replicas; waiting_calls: at handles, not
    yet at a replica. tokens_per_s: of one replica, 0 when none has measured it. min_replicas, max_replicas: bounds.
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
    """Input of `replicas_wanted`.

    tokens_per_s: of one replica. capacity_tokens: what running and starting replicas can compute within `startup_s`.
    """

    backlog_tokens: float
    arrival_tokens_per_s: float
    tokens_per_s: float
    capacity_tokens: float


def replicas_wanted(demand: Demand, settings: AutoscalingSettings) -> int:
    """Replicas for the arrivals, and for the backlog left once the requested replicas have started.

    A replica requested now computes after `startup_s`. The backlog left by then, at the current arrival rate, should
    be done within `target_queue_wait_s`, or within a third of the startup if that is longer: a faster catch-up takes
    many replicas that are idle soon after. Starting replicas count in `capacity_tokens`, so that one backlog does not
    request replicas twice. The formula is ours.
    """
    arrival = demand.arrival_tokens_per_s
    left = demand.backlog_tokens + arrival * settings.startup_s - demand.capacity_tokens
    catch_up = arrival + max(0.0, left) / max(settings.target_queue_wait_s, settings.startup_s / 3)
    needed = max(arrival / settings.target_utilisation, catch_up) / demand.tokens_per_s
    return math.ceil(min(needed, _MAX_REPLICAS) - _ROUNDING)


class Autoscaler:
    """Decides for one deployment; keeps recent arrivals, replicas that are starting, and recent decisions."""

    def __init__(self, settings: AutoscalingSettings) -> None:
        self.settings = settings
        self.demand = Demand(0.0, 0.0, settings.tokens_per_s, 0.0)
        self._now_s = -math.inf
        self._target = self._answer = 0
        self._last_work_s = -math.inf
        # Tokens per call is the ratio of two decaying sums, so calls weigh by their tokens, not by observation.
        self._call_tokens, self._calls = settings.tokens_per_call, 1.0
        self._arrivals: deque[tuple[float, float]] = deque()  # (time, tokens arrived by then)
        self._starting: deque[tuple[float, int]] = deque()  # (time they will be ready, replicas)
        self._wanted: deque[tuple[float, int]] = deque()  # decreasing; the first is the max of `downscale_window_s`

    def decide(self, seen: Observation) -> int:
        """Replicas to have, within the bounds: up at once, down to the max wanted in `downscale_window_s`.

        Zero only after `idle_s` without work, and only from one replica: Serve requires that.
        """
        first = self._now_s == -math.inf
        self._now_s = now = max(self._now_s, seen.now_s)
        waiting_tokens = seen.waiting_calls * self._tokens_per_call(seen)
        new_work = self._record_arrivals(seen.arrived_tokens + waiting_tokens)
        self._update_starting(seen)
        tokens_per_s = seen.tokens_per_s or self.demand.tokens_per_s
        self.demand = Demand(
            backlog_tokens=seen.backlog_tokens + waiting_tokens,
            arrival_tokens_per_s=self._arrival_tokens_per_s(),
            tokens_per_s=tokens_per_s,
            capacity_tokens=self._capacity_tokens(seen.running, tokens_per_s),
        )
        # Replicas that Serve requested itself count as wanted: the initial ones, and its own scale-up from zero.
        requested_by_serve = first or seen.target > max(self._target, self._answer)
        if requested_by_serve or new_work or self.demand.backlog_tokens > 0:
            self._last_work_s = now
        wanted = replicas_wanted(self.demand, self.settings)
        self._record_wanted(max(wanted, seen.target) if requested_by_serve else wanted)
        answer = self._wanted[0][1]
        if _DOWNSCALE_BELOW * seen.target < answer < seen.target:
            answer = seen.target
        may_be_zero = now - self._last_work_s >= self.settings.idle_s and seen.target <= 1
        if seen.target > 0 and not may_be_zero:
            answer = max(1, answer)
        self._target, self._answer = seen.target, min(max(answer, seen.min_replicas), seen.max_replicas)
        return self._answer

    def _tokens_per_call(self, seen: Observation) -> float:
        if seen.running_calls >= 1:
            self._call_tokens = _CALL_SIZE_DECAY * self._call_tokens + seen.backlog_tokens
            self._calls = _CALL_SIZE_DECAY * self._calls + seen.running_calls
        return self._call_tokens / self._calls

    def _record_arrivals(self, arrived_tokens: float) -> bool:
        """Whether any tokens arrived since the last observation."""
        new_work = bool(self._arrivals) and arrived_tokens > self._arrivals[-1][1]
        self._arrivals.append((self._now_s, arrived_tokens))
        while len(self._arrivals) > 2 and self._arrivals[1][0] <= self._now_s - self.settings.rate_window_s:
            self._arrivals.popleft()
        return new_work

    def _arrival_tokens_per_s(self) -> float:
        """Mean over the whole window even before it has passed: one first call does not make a rate."""
        arrived = self._arrivals[-1][1] - self._arrivals[0][1]
        return max(0.0, arrived) / max(self.settings.rate_window_s, self._arrivals[-1][0] - self._arrivals[0][0])

    def _update_starting(self, seen: Observation) -> None:
        """Assume that the replicas that became ready are those requested first, and date new requests to now."""
        starting = max(0, seen.target - seen.running)
        known = sum(count for _, count in self._starting)
        while known > starting:
            ready_s, count = self._starting.popleft()
            done = min(count, known - starting)
            known -= done
            if count > done:
                self._starting.appendleft((ready_s, count - done))
        if starting > known:
            self._starting.append((self._now_s + self.settings.startup_s, starting - known))

    def _capacity_tokens(self, running: int, tokens_per_s: float) -> float:
        """An overdue replica counts as ready now: requesting another would not bring it sooner."""
        startup_s = self.settings.startup_s
        starting = sum(count * min(startup_s, self._now_s + startup_s - ready_s) for ready_s, count in self._starting)
        return (running * startup_s + starting) * tokens_per_s

    def _record_wanted(self, wanted: int) -> None:
        """Keeps the sliding-window maximum first: smaller, older entries can never be the maximum again."""
        while self._wanted and self._wanted[-1][1] <= wanted:
            self._wanted.pop()
        self._wanted.append((self._now_s, wanted))
        while self._wanted[0][0] < self._now_s - self.settings.downscale_window_s:
            self._wanted.popleft()


class CounterIncrease:
    """Total increase of many counters, some of which restart at zero, vanish or go unreported for a while.

    As Prometheus' `increase()`: a counter that fell has restarted at zero.
    """

    def __init__(self) -> None:
        self.total = 0.0
        self._last: dict[Hashable, float] = {}
        self._preexisting: frozenset[Hashable] | None = None  # counters older than this object

    def add(self, counters: Mapping[Hashable, float], alive: Collection[Hashable]) -> float:
        """The increase since the first call, which only sets the baseline.

        alive: names of all counters that exist, reported or not; the others are dropped.
        """
        if self._preexisting is None:
            self._preexisting = frozenset(alive) | counters.keys()
        for name, count in counters.items():
            before = self._last.get(name, count if name in self._preexisting else 0.0)
            self.total += count - before if count >= before else count
            self._last[name] = count
        if len(self._last) > len(counters):
            keep = counters.keys() | set(alive)
            self._last = {name: count for name, count in self._last.items() if name in keep}
        return self.total
