"""How much longer a request takes because others are there too: a steady load on replicas that share fairly.

Requests of equal size arrive at random (a Poisson process), each in shards of equal work. A shard goes to the one of
two random replicas that has fewer, as Serve routes; a replica works on all its shards at once, in equal shares, as
`scheduling.queue` does in passes that are short beside a shard. The autoscaling benchmark's simulation
(`bench.autoscale.simulation`) cannot answer this: its steps are a second long, and each call is spread over every
replica.

Processor sharing with a virtual clock: the queue has done V(t), the integral of 1 / (shards present), for each shard
that was there, so a shard that came at V leaves at V + 1. Times are in units of one shard's work.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

MAX_UTILISATION = 0.95
_UTILISATIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, MAX_UTILISATION)
# Numbers of replicas that are simulated. Others count as the next lower one at the same utilisation: with more
# replicas requests wait less, and above the last one hardly less.
REPLICAS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_MAX_SHARDS = 16  # more are simulated as so many larger ones
# Shards of a run. Requests on few replicas wait for each other longer, so that chance evens out later.
_MIN_SHARDS, _MAX_SHARDS_SIMULATED, _SHARDS_TIMES_REPLICAS = 10_000, 25_000, 60_000
_MIN_REQUESTS = 2_000
_WARM_UP = 10  # the first tenth is not counted


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Latency of a request, in units of the work of one of its shards."""

    p50: float
    p99: float


def size_class(replicas: int) -> int:
    """Index in REPLICAS of the deployment that is simulated for so many replicas."""
    return bisect_right(REPLICAS, replicas) - 1


def latency(size: int, shards: int, utilisation: float) -> Quantiles:
    """On REPLICAS[size] replicas; utilisation: from 0 to MAX_UTILISATION.

    Linear between simulated loads. Never falls with the load, although single simulations may, by chance.
    """
    curve = _curve(size, shards)
    p50, p99 = (float(np.interp(utilisation, _UTILISATIONS, values)) for values in curve)
    return Quantiles(p50, p99)


@lru_cache(maxsize=256)
def _curve(size: int, shards: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    simulated = min(shards, _MAX_SHARDS)
    rows = [simulate(REPLICAS[size], simulated, utilisation) for utilisation in _UTILISATIONS]
    larger = shards / simulated
    p50, p99 = (np.maximum.accumulate([larger * row[number] for row in rows]) for number in (0, 1))
    return p50, p99


def simulate(replicas: int, shards: int, utilisation: float, seed: int = 0) -> tuple[float, float]:
    """(p50, p99) of one run; the same arrivals and routes for every utilisation, only denser."""
    wanted = int(np.clip(_SHARDS_TIMES_REPLICAS // replicas, _MIN_SHARDS, _MAX_SHARDS_SIMULATED))
    count = max(_MIN_REQUESTS, wanted // shards)
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(shards / (replicas * max(utilisation, 1e-6)), count)
    first = rng.integers(replicas, size=count * shards)
    second = (first + rng.integers(1, max(2, replicas), size=count * shards)) % replicas
    arrivals = np.cumsum(gaps)
    left_at = run(replicas, shards, arrivals.tolist(), first.tolist(), second.tolist())
    latencies = (left_at - arrivals)[count // _WARM_UP :]
    p50, p99 = np.quantile(latencies, (0.5, 0.99))
    return float(p50), float(p99)


def run(
    replicas: int, shards: int, arrivals: list[float], first: list[int], second: list[int]
) -> NDArray[np.float64]:
    """When the last shard of each request is done. first, second: replicas to choose from, for each shard."""
    left_at = [0.0] * len(arrivals)
    clocks, times = [0.0] * replicas, [0.0] * replicas
    # Shards leave a replica in the order in which they came, because all are of one size.
    present: list[deque[tuple[float, int]]] = [deque() for _ in range(replicas)]

    def advance(replica: int, now: float) -> None:
        queue, clock, time = present[replica], clocks[replica], times[replica]
        while queue:
            leaves = time + (queue[0][0] - clock) * len(queue)
            if leaves > now:
                clock += (now - time) / len(queue)
                break
            time = leaves
            clock, request = queue.popleft()
            left_at[request] = max(left_at[request], time)
        clocks[replica], times[replica] = clock, now

    route = 0
    for request, now in enumerate(arrivals):
        for _ in range(shards):
            chosen, other = first[route], second[route]
            route += 1
            advance(chosen, now)
            if other != chosen:
                advance(other, now)
                if len(present[other]) < len(present[chosen]):
                    chosen = other
            present[chosen].append((clocks[chosen] + 1.0, request))
    for replica in range(replicas):
        advance(replica, float("inf"))
    return np.array(left_at)
