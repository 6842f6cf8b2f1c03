"""What a simulated run cost, and how long work waited."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cluster.bench.autoscale.simulation import Run, Series


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one trace under one policy.

    over_target_s: number of seconds whose arrivals waited longer than the target. work_over_target: share of all
    tokens that did. over_ideal: paid replica-seconds over the ideal ones. flaps: changes of direction.
    """

    trace: str
    policy: str
    over_target_s: int
    work_over_target: float
    wait_p95_s: float
    longest_wait_s: float
    replica_s: float
    over_ideal: float
    flaps: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def figures(trace: str, policy: str, run: Run, ideal: Series, target_queue_wait_s: float) -> Figures:
    late = run.wait_s > target_queue_wait_s
    arrived = run.arrived_tokens
    return Figures(
        trace=trace,
        policy=policy,
        over_target_s=int(late.sum()),
        work_over_target=float(arrived[late].sum() / arrived.sum()),
        wait_p95_s=_weighted_quantile(run.wait_s, arrived, 0.95),
        longest_wait_s=float(run.wait_s.max()),
        replica_s=float(run.paid.sum()),
        over_ideal=float(run.paid.sum() / ideal.sum()),
        flaps=flaps(run.paid),
    )


def flaps(replicas: Series) -> int:
    """How often a rise is followed by a fall, or a fall by a rise."""
    steps = np.sign(np.diff(replicas))
    steps = steps[steps != 0]
    return int((steps[1:] != steps[:-1]).sum())


def _weighted_quantile(values: Series, weights: Series, share: float) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, share * reached[-1])])
