"""Autoscaling by queued tokens, as a policy class of Ray Serve.

    autoscaling_config:
      policy:
        policy_function: deployments.autoscaling:WorkPolicy
        policy_kwargs: {target_queue_wait_s: 2}

Knows how Serve reports a deployment; `reranker.scheduling.autoscaling` decides. Serve's controller creates one policy
object per deployment, a new one with every change of its config, and calls it ten times a second. It calls no policy
while requests wait and no replica runs: it then starts one by itself.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from ray.serve.config import AutoscalingContext

from reranker.scheduling.autoscaling import Autoscaler, AutoscalingSettings, CounterIncrease, Observation

log = logging.getLogger("ray.serve")

_DECIDE_EVERY_S = 0.5  # reports come once a second at best; reading those of 10,000 replicas takes 25 to 50 ms


class WorkPolicy:
    """kwargs: fields of AutoscalingSettings. Raises pydantic's ValidationError for others, and the deploy fails.

    clock: seconds that never step. Serve's `current_time` is the wall clock, which may step by hours.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, **kwargs: Any) -> None:
        self._clock = clock
        self._autoscaler = Autoscaler(AutoscalingSettings(**kwargs))
        self._arrived = CounterIncrease()
        self._decided: tuple[float, int, int, int] | None = None  # when, running, target, and what was wanted

    def __call__(self, ctx: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """The number of replicas wanted, and no state for Serve to keep."""
        now_s = self._clock()
        replicas = (ctx.current_num_replicas, ctx.target_num_replicas)
        if self._decided and self._decided[1:3] == replicas and now_s < self._decided[0] + _DECIDE_EVERY_S:
            return self._decided[3], {}
        wanted = self._autoscaler.decide(self._observe(ctx, now_s))
        self._decided = (now_s, *replicas, wanted)
        if wanted != ctx.target_num_replicas:
            demand = self._autoscaler.demand
            log.info(
                f"{ctx.deployment_name}: {ctx.target_num_replicas} -> {wanted} replicas: "
                f"backlog {demand.backlog_tokens:.0f} tokens, arrivals {demand.arrival_tokens_per_s:.0f} tokens/s, "
                f"throughput {demand.tokens_per_s:.0f} tokens/s per replica"
            )
        return wanted, {}

    def _observe(self, ctx: AutoscalingContext, now_s: float) -> Observation:
        metrics = ctx.raw_metrics or {}
        backlog, arrived, speeds = (
            _newest(metrics.get(name)) for name in ("backlog_tokens", "arrived_tokens", "tokens_per_s")
        )
        measured = [speed for speed in speeds.values() if speed]
        waiting, ongoing = _number(ctx.total_queued_requests), _number(ctx.total_num_requests)
        return Observation(
            now_s=now_s,
            running=ctx.current_num_replicas,
            target=ctx.target_num_replicas,
            backlog_tokens=sum(backlog.values()),
            arrived_tokens=self._arrived.add(arrived, ctx.running_replicas),
            tokens_per_s=sum(measured) / len(measured) if measured else 0.0,
            running_calls=max(0.0, ongoing - waiting) if backlog else 0.0,
            # Without backlog reports all calls count as waiting: only their number is known.
            waiting_calls=waiting if backlog else ongoing,
            min_replicas=ctx.capacity_adjusted_min_replicas,
            max_replicas=ctx.capacity_adjusted_max_replicas,
        )


def _newest(series: Mapping[Any, Any] | None) -> dict[Any, float]:
    """Replica -> its last value if that is finite and not negative. Serve's own aggregate is a mean over time."""
    last = {replica: points[-1].value for replica, points in (series or {}).items() if points}
    return {replica: value for replica, value in last.items() if math.isfinite(value) and value >= 0}


def _number(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) and value > 0 else 0.0
