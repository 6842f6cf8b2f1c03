"""A deployment of up to 10,000 replicas, second by second: one queue, replicas of one speed that take time to start.

The queue is a fluid: what is in it spreads over all replicas at once, which is what a router strives for. Calls
arrive by chance (Poisson) around a trace's rate. A policy sees what Serve's reports would have told it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cluster.bench.autoscale.policies import Policy, Seen
from cluster.bench.autoscale.traces import Trace

Series = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class World:
    """peak_replicas: how many the trace's peak keeps busy. call_tokens: of one call, a shard of a request.

    batch_tokens: what a device takes at once.
    """

    peak_replicas: int = 100
    tokens_per_s: float = 10_000.0
    call_tokens: float = 8_000.0
    batch_tokens: float = 16_384.0
    startup_s: float = 60.0
    seed: int = 0

    def arrivals(self, trace: Trace) -> Series:
        """Tokens of each second, in whole calls."""
        mean_calls = trace.rates * self.peak_replicas * self.tokens_per_s / self.call_tokens
        calls = np.random.default_rng(self.seed).poisson(mean_calls)
        return calls.astype(np.float64) * self.call_tokens

    def ideal_replicas(self, trace: Trace) -> Series:
        """Just enough for each second's rate, without queue and start: perfect foresight."""
        replicas: Series = np.ceil(trace.rates * self.peak_replicas - 1e-9)
        return replicas


@dataclass(frozen=True, slots=True)
class Run:
    """Each (seconds,). paid: replicas that run or start, which hold a GPU already. wait_s: of what arrives."""

    arrived_tokens: Series
    running: Series
    paid: Series
    wait_s: Series


def simulate(trace: Trace, policy: Policy, world: World) -> Run:
    """Begins with the replicas that the first second needs."""
    arrivals = world.arrivals(trace)
    seconds = len(arrivals)
    running = max(1, int(world.ideal_replicas(trace)[0]))
    starting: deque[tuple[int, int]] = deque()  # (second they run from, replicas)
    backlog = arrived = 0.0
    reports = _Reports(policy.report_every_s, policy.look_back_s)
    served, ran, paid = np.zeros(seconds), np.zeros(seconds), np.zeros(seconds)
    for now in range(seconds):
        while starting and starting[0][0] <= now:
            running += starting.popleft()[1]
        ordered = sum(count for _, count in starting)
        ran[now], paid[now] = running, running + ordered
        arrived += arrivals[now]
        backlog += arrivals[now]
        served[now] = min(backlog, running * world.tokens_per_s)
        backlog -= served[now]
        busy = served[now] / world.tokens_per_s
        on_devices = busy * max(world.call_tokens, min(world.batch_tokens, backlog / running if running else 0.0))
        reports.record(now, backlog + on_devices, arrived)
        tokens, came, mean_tokens = reports.read(now)
        target = policy.decide(
            Seen(
                now_s=float(now),
                running=running,
                target=running + ordered,
                ongoing_calls=mean_tokens / world.call_tokens,
                backlog_tokens=tokens,
                arrived_tokens=came,
                tokens_per_s=world.tokens_per_s,
            )
        )
        if target > running + ordered:
            starting.append((now + 1 + round(world.startup_s), target - running - ordered))
        surplus = running + ordered - target
        while surplus > 0 and starting:  # the youngest first, as Serve does
            ready, count = starting.pop()
            if count > surplus:
                starting.append((ready, count - surplus))
            surplus -= min(count, surplus)
        running -= max(0, surplus)
    return Run(arrivals, ran, paid, _waits(arrivals, served, world))


def _waits(arrivals: Series, served: Series, world: World) -> Series:
    """Until the last token of each second's arrivals is taken up, first come first served; 0 where none arrived.

    What is never taken up waits to the end and counts as waiting on at the last second's speed.
    """
    came, done = np.cumsum(arrivals), np.cumsum(served)
    taken = np.searchsorted(done, came - 1e-6 * world.call_tokens)
    late = np.maximum(0.0, came - done[-1]) / max(served[-1], world.tokens_per_s)
    return np.where(arrivals > 0, taken - np.arange(len(came)) + late, 0.0)


class _Reports:
    """What the controller knows: pushed every so often, the mean over a look-back period with the last point held."""

    def __init__(self, every_s: float, look_back_s: float) -> None:
        self._every_s = round(every_s)
        self._points: deque[float] = deque(maxlen=round(look_back_s))
        self._pushed: tuple[int, float, float, float, int] = (0, 0.0, 0.0, 0.0, 0)

    def record(self, now: int, tokens: float, arrived: float) -> None:
        self._points.append(tokens)
        if now % self._every_s == 0:
            self._pushed = (now, tokens, arrived, sum(self._points), len(self._points))

    def read(self, now: int) -> tuple[float, float, float]:
        """Tokens in the system, tokens that ever came, and the mean of the former, all of the last push."""
        pushed, tokens, arrived, total, count = self._pushed
        held = now - pushed
        return tokens, arrived, (total + tokens * held) / (count + held)
