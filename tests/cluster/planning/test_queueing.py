"""The simulated queue, against formulas and against the scheduler's own fair queue."""

import heapq
from collections.abc import Iterator

import numpy as np
import pytest

from cluster.planning.queueing import REPLICAS, latency, run, simulate, size_class
from reranker.scheduling.fair_queueing import FairQueue

PAIRS = 20  # of a shard in the fair queue


def test_lone_requests_take_the_work_of_their_shards() -> None:
    assert run(1, 1, [0.0, 10.0], [0, 0], [0, 0]).tolist() == [1, 11]
    assert run(1, 3, [0.0], [0, 0, 0], [0, 0, 0]).tolist() == [3]
    assert run(2, 2, [0.0], [0, 0], [1, 1]).tolist() == [1]  # the second shard finds the other replica empty


def test_shards_on_one_replica_share_it_equally() -> None:
    # Alone for 0.5, then both at half speed for 1; the second is then alone with its last half.
    assert run(1, 1, [0.0, 0.5], [0, 0], [0, 0]).tolist() == [1.5, 2.0]


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.8])
def test_mean_of_one_replica_is_that_of_processor_sharing(utilisation: float) -> None:
    """1 / (1 - u), whatever the distribution of sizes. Source: Kleinrock, Queueing Systems II, 4.4."""
    rng = np.random.default_rng(1)
    arrivals = np.cumsum(rng.exponential(1 / utilisation, 60_000))
    none = [0] * len(arrivals)
    assert (run(1, 1, arrivals.tolist(), none, none) - arrivals).mean() == pytest.approx(
        1 / (1 - utilisation), rel=0.1
    )


@pytest.mark.parametrize(("replicas", "shards", "passes"), [(1, 1, 8), (1, 1, 2), (4, 1, 8), (4, 2, 8)])
@pytest.mark.parametrize("utilisation", [0.4, 0.7])
def test_quantiles_are_those_of_fair_queueing_in_passes(
    replicas: int, shards: int, passes: int, utilisation: float
) -> None:
    """The same arrivals and routes through `FairQueue`, in passes of a shard's work over `passes`."""
    rng = np.random.default_rng(0)
    count = 1_500
    arrivals = np.cumsum(rng.exponential(shards / replicas / utilisation, count))
    first = rng.integers(replicas, size=count * shards)
    second = (first + rng.integers(1, max(2, replicas), size=count * shards)) % replicas
    routes = (first.tolist(), second.tolist())
    forecast = run(replicas, shards, arrivals.tolist(), *routes) - arrivals
    scheduled = np.array(list(in_passes(replicas, shards, PAIRS // passes, arrivals.tolist(), *routes))) - arrivals
    assert np.quantile(forecast, 0.5) == pytest.approx(np.quantile(scheduled, 0.5), rel=0.25)
    assert np.quantile(forecast, 0.99) == pytest.approx(np.quantile(scheduled, 0.99), rel=0.2)


def in_passes(
    replicas: int, shards: int, pass_pairs: int, arrivals: list[float], first: list[int], second: list[int]
) -> Iterator[float]:
    """When each request is done. A pass takes pairs as `TokenBudgetQueue` does, and nothing interrupts it."""
    queues: list[FairQueue[list[int]]] = [FairQueue(pass_pairs) for _ in range(replicas)]
    present, busy = [0] * replicas, [False] * replicas
    left, done = [shards] * len(arrivals), [0.0] * len(arrivals)
    events: list[tuple[float, int, int, list[int]]] = [(at, number, -1, []) for number, at in enumerate(arrivals)]
    numbers = iter(range(len(arrivals), 10**9))

    def start(replica: int, now: float) -> None:
        queue, taken, finished = queues[replica], 0, []
        while queue and taken < pass_pairs:
            shard = queue.first()
            queue.charge(1.0)
            shard[1] -= 1
            taken += 1
            if not shard[1]:
                finished.append(shard[0])
                # Its virtual time has changed, so it need not be first: it leaves when it is.
            while queue and not queue.first()[1]:
                queue.leave()
        busy[replica] = taken > 0
        if taken:
            heapq.heappush(events, (now + taken / PAIRS, next(numbers), replica, finished))

    while events:
        now, number, replica, finished = heapq.heappop(events)
        if replica >= 0:
            for request in finished:
                present[replica] -= 1
                left[request] -= 1
                done[request] = now
            start(replica, now)
            continue
        for shard in range(number * shards, (number + 1) * shards):
            one, other = first[shard], second[shard]
            chosen = other if present[other] < present[one] else one
            present[chosen] += 1
            queues[chosen].join([number, PAIRS])
            if not busy[chosen]:
                start(chosen, now)
    assert not any(left)
    yield from done


def test_more_replicas_wait_less_at_the_same_load() -> None:
    slowest = [latency(size_class(replicas), 1, 0.8).p99 for replicas in (1, 2, 4, 16, 64)]
    assert slowest == sorted(slowest, reverse=True)


def test_other_numbers_of_replicas_count_as_the_next_lower_one() -> None:
    assert [REPLICAS[size_class(replicas)] for replicas in (1, 5, 7, 64, 10_000)] == [1, 4, 6, 64, 64]


def test_latency_interpolates_between_simulated_loads() -> None:
    low, middle, high = (latency(0, 1, load).p99 for load in (0.5, 0.55, 0.6))
    assert middle == pytest.approx((low + high) / 2)
    assert latency(0, 1, 0.0).p99 == simulate(1, 1, 0.0)[1] == pytest.approx(1.0, abs=1e-3)
