"""A deployment of up to 10,000 replicas, second by second: one queue, replicas of equal speed with a startup time.

It is a fluid model: queued work spreads over all replicas at once, as under an ideal router. Calls arrive as a
Poisson process with the trace's rate. A policy sees what Serve's metrics would show it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cluster.bench.autoscale.policies import Observed, Policy
from cluster.bench.autoscale.traces import Trace

Series = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class World:
    """peak_replicas: number of replicas that the trace's peak keeps busy. tokens_per_s: speed of a replica.

    call_tokens: tokens per call, which is a shard of a request. batch_tokens: max tokens on a device at once.
    """

    peak_replicas: int = 100
    tokens_per_s: float = 10_000.0
    call_tokens: float = 8_000.0
    batch_tokens: float = 16_384.0
    startup_s: float = 60.0
    seed: int = 0

    def arrivals(self, trace: Trace) -> Series:
        """Tokens that arrive in each second, in whole calls."""
        mean_calls = trace.rates * self.peak_replicas * self.tokens_per_s / self.call_tokens
        calls = np.random.default_rng(self.seed).poisson(mean_calls)
        return calls.astype(np.float64) * self.call_tokens

    def ideal_replicas(self, trace: Trace) -> Series:
        """Just enough replicas for each second's rate, as if the future were known and startup took no time."""
        replicas: Series = np.ceil(trace.rates * self.peak_replicas - 1e-9)
        return replicas


@dataclass(frozen=True, slots=True)
class Run:
    """Series of shape (seconds,). paid: replicas running or starting; both hold a GPU. wait_s: of arriving work."""

    arrived_tokens: Series
    running: Series
    paid: Series
    wait_s: Series


def simulate(trace: Trace, policy: Policy, world: World) -> Run:
    """Run the trace under the policy, beginning with the replicas that the first second needs."""
    arrivals = world.arrivals(trace)
    seconds = len(arrivals)
    running = max(1, int(world.ideal_replicas(trace)[0]))
    starting: deque[tuple[int, int]] = deque()  # (second of their first work, replicas)
    backlog = arrived = 0.0
    metrics = _Metrics(policy.report_every_s, policy.look_back_s)
    served, ran, paid = np.zeros(seconds), np.zeros(seconds), np.zeros(seconds)
    for now in range(seconds):
        while starting and starting[0][0] <= now:
            running += starting.popleft()[1]
        in_startup = sum(count for _, count in starting)
        ran[now], paid[now] = running, running + in_startup
        arrived += arrivals[now]
        backlog += arrivals[now]
        served[now] = min(backlog, running * world.tokens_per_s)
        backlog -= served[now]
        busy = served[now] / world.tokens_per_s
        on_devices = busy * max(world.call_tokens, min(world.batch_tokens, backlog / running if running else 0.0))
        metrics.record(now, backlog + on_devices, arrived)
        tokens, arrived_by_report, mean_tokens = metrics.read(now)
        target = policy.decide(
            Observed(
                now_s=float(now),
                running=running,
                target=running + in_startup,
                ongoing_calls=mean_tokens / world.call_tokens,
                backlog_tokens=tokens,
                arrived_tokens=arrived_by_report,
                tokens_per_s=world.tokens_per_s,
            )
        )
        if target > running + in_startup:
            starting.append((now + 1 + round(world.startup_s), target - running - in_startup))
        surplus = running + in_startup - target
        while surplus > 0 and starting:  # the last requested first, as Serve does
            ready, count = starting.pop()
            if count > surplus:
                starting.append((ready, count - surplus))
            surplus -= min(count, surplus)
        running -= max(0, surplus)
    return Run(arrivals, ran, paid, _waits(arrivals, served, world))


def _waits(arrivals: Series, served: Series, world: World) -> Series:
    """Seconds until the last token of each second's arrivals is processed, in order of arrival; 0 without arrivals.

    Work left at the end is assumed to be processed at the speed of the last second.
    """
    arrived, done = np.cumsum(arrivals), np.cumsum(served)
    served_at = np.searchsorted(done, arrived - 1e-6 * world.call_tokens)
    left = np.maximum(0.0, arrived - done[-1]) / max(served[-1], world.tokens_per_s)
    return np.where(arrivals > 0, served_at - np.arange(len(arrived)) + left, 0.0)


class _Metrics:
    """What Serve's controller knows: the values of the last report, and their mean over the look-back period."""

    def __init__(self, every_s: float, look_back_s: float) -> None:
        self._every_s = round(every_s)
        self._points: deque[float] = deque(maxlen=round(look_back_s))
        self._reported: tuple[int, float, float, float, int] = (0, 0.0, 0.0, 0.0, 0)

    def record(self, now: int, tokens: float, arrived: float) -> None:
        self._points.append(tokens)
        if now % self._every_s == 0:
            self._reported = (now, tokens, arrived, sum(self._points), len(self._points))

    def read(self, now: int) -> tuple[float, float, float]:
        """Tokens in the system, tokens that arrived so far, and the mean of the former, as of the last report.

        Between reports the mean assumes that the last value persists.
        """
        reported_at, tokens, arrived, total, count = self._reported
        age = now - reported_at
        return tokens, arrived, (total + tokens * age) / (count + age)
