"""How many replicas a load needs, how long its requests then take, what it costs, and what would break first."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import ceil, floor

from cluster.planning.queueing import MAX_UTILISATION, REPLICAS, latency, size_class
from cluster.planning.replica import Replica
from reranker.errors import InvalidField
from reranker.scheduling.autoscaling import AutoscalingSettings

# Measured with `reranker bench` on simulated GPUs (docs/benchmarks.md). One document over HTTP takes so much longer
# than in the engine; many clients get 385 documents/s of the 402 that the device could read; a job on eight scorers
# keeps 95 % of their speed, and starts in 17 s.
HTTP_OVERHEAD_S = 0.0143
HTTP_SHARE, JOB_SHARE = 0.96, 0.95
JOB_START_S = 17.0

TARGET_UTILISATION = float(AutoscalingSettings().target_utilisation)
MAX_REPLICAS = 10_000
# Memory does not grow with the load, so it breaks first only where little is left: fragmentation once took 1.1 GB.
_TIGHT_MEMORY = 1.1
_ROUNDING = 1e-9  # replicas: a rounding error does not add one


@dataclass(frozen=True, slots=True)
class Latency:
    p50_s: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that breaks when `what` grows by more than `factor`."""

    name: str
    what: str
    factor: float


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """replicas: one GPU each. lone_s: a request that meets no other. limits: what would break first comes first.

    Costs are None without a price.
    """

    replica: Replica
    replicas: int
    utilisation: float
    lone_s: float
    latency: Latency
    limits: tuple[Limit, ...]
    gpu_hours_per_million_pairs: float
    cost_per_hour: float | None
    cost_per_million_pairs: float | None


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A batch job on so many GPUs; seconds include its start, but not the loading of the weights."""

    replica: Replica
    gpus: int
    seconds: float
    pairs_per_s: float
    gpu_hours: float
    gpu_hours_per_million_pairs: float
    cost: float | None
    cost_per_million_pairs: float | None


def latency_of(replica: Replica, replicas: int, utilisation: float) -> Latency:
    """At a steady load. The slowest hundredth also waits for a pass in progress, which nothing interrupts."""
    return _latency(replica, size_class(replicas), utilisation)


def _latency(replica: Replica, size: int, utilisation: float) -> Latency:
    factors = latency(size, replica.shards, utilisation)
    shard_s = replica.shard_s / HTTP_SHARE
    pass_s = replica.pass_s / HTTP_SHARE * min(1.0, 2 * utilisation) if replica.shard_s > replica.pass_s else 0.0
    floor_s = HTTP_OVERHEAD_S + replica.lone_shard_s / HTTP_SHARE  # one shard on an idle device
    return Latency(floor_s + shard_s * (factors.p50 - 1), floor_s + shard_s * (factors.p99 - 1) + pass_s)


def plan_service(
    replica: Replica, requests_per_s: float, pairs_per_s: float, p99_s: float | None, price_per_hour: float | None
) -> ServicePlan:
    """The fewest replicas that are busy for at most TARGET_UTILISATION of the time and keep the p99.

    Raises InvalidField for a p99 below the time of one request alone, and a load beyond MAX_REPLICAS.
    """
    if p99_s is not None and p99_s < (least := _latency(replica, len(REPLICAS) - 1, 0.0).p99_s):
        raise InvalidField(
            "--p99-ms",
            f"{1000 * p99_s:,g} ms is below the {ceil(1000 * least):,} ms that one request alone takes on "
            f"{replica.device}: use a faster GPU, fewer or shorter documents, or a smaller --shard-chars",
        )
    busy = requests_per_s * replica.request_s / HTTP_SHARE  # replicas, on average
    replicas = _fewest(replica, busy, p99_s)
    utilisation = busy / replicas
    lone_s = latency_of(replica, replicas, 0.0).p50_s
    gpu_hours = replicas / 3600 / pairs_per_s * 1e6
    return ServicePlan(
        replica=replica,
        replicas=replicas,
        utilisation=utilisation,
        lone_s=lone_s,
        latency=latency_of(replica, replicas, utilisation),
        limits=_limits(replica, replicas, utilisation, lone_s, p99_s),
        gpu_hours_per_million_pairs=gpu_hours,
        cost_per_hour=None if price_per_hour is None else replicas * price_per_hour,
        cost_per_million_pairs=None if price_per_hour is None else gpu_hours * price_per_hour,
    )


def plan_job(replica: Replica, pairs: int, documents: int, gpus: int, price_per_hour: float | None) -> JobPlan:
    """A job of so many pairs, `documents` per query."""
    pairs_per_s = gpus * JOB_SHARE * documents / replica.request_s
    seconds = JOB_START_S + pairs / pairs_per_s
    gpu_hours = gpus * seconds / 3600
    return JobPlan(
        replica=replica,
        gpus=gpus,
        seconds=seconds,
        pairs_per_s=pairs_per_s,
        gpu_hours=gpu_hours,
        gpu_hours_per_million_pairs=gpu_hours / pairs * 1e6,
        cost=None if price_per_hour is None else gpu_hours * price_per_hour,
        cost_per_million_pairs=None if price_per_hour is None else gpu_hours / pairs * 1e6 * price_per_hour,
    )


def _fewest(replica: Replica, busy: float, p99_s: float | None) -> int:
    """Within the replicas of one simulated size more never take longer: each size is searched by bisection."""
    least = max(1, ceil(busy / TARGET_UTILISATION - _ROUNDING))
    for size, smallest in enumerate(REPLICAS):
        last = REPLICAS[size + 1] - 1 if size + 1 < len(REPLICAS) else MAX_REPLICAS
        candidates = range(max(least, smallest), last + 1)
        if not candidates or least > MAX_REPLICAS:
            continue
        if p99_s is None:
            return candidates[0]

        def keeps_p99(replicas: int, size: int = size, p99_s: float = p99_s) -> bool:
            return _latency(replica, size, busy / replicas).p99_s <= p99_s

        if (found := bisect_left(candidates, True, key=keeps_p99)) < len(candidates):
            return candidates[found]
    option, asks = (
        ("--requests-per-s", "needs") if least > MAX_REPLICAS else ("--p99-ms", "is so short that it needs")
    )
    raise InvalidField(
        option,
        f"{asks} more than {MAX_REPLICAS:,} replicas on {replica.device}: use a faster GPU, a smaller model or fewer "
        "documents",
    )


def _limits(
    replica: Replica, replicas: int, utilisation: float, lone_s: float, p99_s: float | None
) -> tuple[Limit, ...]:
    limits = [Limit("queue", "requests per second", 1 / utilisation)]
    if p99_s is not None:
        limits.append(Limit("p99", "requests per second", _p99_room(replica, replicas, utilisation, p99_s)))
        work_s = p99_s - HTTP_OVERHEAD_S
        limits.append(Limit("one request alone", "work of a request", work_s / (lone_s - HTTP_OVERHEAD_S)))
    limits.sort(key=lambda limit: limit.factor)
    if replica.memory_bytes is not None:
        memory = Limit("memory", "memory needed", replica.memory_bytes / replica.needed_bytes)
        limits.insert(0 if memory.factor < _TIGHT_MEMORY else len(limits), memory)
    return tuple(limits)


def _p99_room(replica: Replica, replicas: int, utilisation: float, p99_s: float) -> float:
    """By how much the load may grow before the p99 is missed, in steps of a hundredth of a replica's time."""
    steps = range(floor(100 * utilisation), round(100 * MAX_UTILISATION) + 1)
    missed = bisect_left(steps, True, key=lambda step: latency_of(replica, replicas, step / 100).p99_s > p99_s)
    if missed == len(steps):
        return 1 / utilisation  # the queue overflows first
    return max(1.0, (steps[missed] - 1) / 100 / utilisation)
