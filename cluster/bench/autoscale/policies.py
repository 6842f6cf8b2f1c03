"""Who decides in the simulation: our policy, and Serve's default with the settings it comes with and with ours.

Serve's rules around a policy (a start from zero, factors, delays) are Ray's own functions, on the simulation's clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

from ray.serve._private.common import DeploymentID
from ray.serve.autoscaling_policy import (
    _apply_delay_logic,
    _apply_scaling_factors,
    _get_cold_start_scale_up_replicas,
    default_autoscaling_policy,
)
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from reranker.scheduling.autoscaling import Autoscaler, AutoscalingSettings, Observation

_ID = DeploymentID(name="Scorer")


@dataclass(frozen=True, slots=True)
class Seen:
    """What reports say. ongoing_calls: the mean of the look-back period; tokens: as of the last report."""

    now_s: float
    running: int
    target: int
    ongoing_calls: float
    backlog_tokens: float
    arrived_tokens: float
    tokens_per_s: float


class Policy(Protocol):
    """A contender. report_every_s, look_back_s: how old and how smooth what it sees is."""

    name: str
    report_every_s: float
    look_back_s: float

    def decide(self, seen: Seen) -> int: ...


@dataclass
class ServeRules:
    """What Serve does around a policy's answer."""

    config: AutoscalingConfig
    state: dict[str, Any] = field(default_factory=dict)

    def context(self, seen: Seen) -> AutoscalingContext:
        return AutoscalingContext(
            deployment_id=_ID,
            deployment_name=_ID.name,
            app_name=_ID.app_name,
            current_num_replicas=seen.running,
            target_num_replicas=seen.target,
            running_replicas=[],
            total_num_requests=seen.ongoing_calls,
            total_queued_requests=0.0,
            aggregated_metrics=None,
            raw_metrics=None,
            capacity_adjusted_min_replicas=self.config.min_replicas,
            capacity_adjusted_max_replicas=self.config.max_replicas,
            policy_state={},
            last_scale_up_time=None,
            last_scale_down_time=None,
            current_time=seen.now_s,
            config=self.config,
        )

    def target(self, desired: float, context: AutoscalingContext) -> int:
        now_s = float(context.current_time or 0.0)
        replicas = _apply_scaling_factors(desired, context.current_num_replicas, self.config)
        if context.current_num_replicas > 0 or replicas <= 0:
            replicas, self.state = _apply_delay_logic(
                max(0, replicas), context.target_num_replicas, self.config, self.state, _now=now_s
            )
        return max(self.config.min_replicas, min(self.config.max_replicas, math.ceil(replicas)))


class Ours:
    """reranker.autoscaling, as deployments.autoscaling asks it; Serve's delays are off, it has its own memory."""

    name = "ours"
    report_every_s = 1.0
    look_back_s = 3.0

    def __init__(self, settings: AutoscalingSettings, min_replicas: int, max_replicas: int) -> None:
        self._rules = ServeRules(_config(min_replicas, max_replicas, upscale_delay_s=0, downscale_delay_s=0))
        self._autoscaler = Autoscaler(settings)

    def decide(self, seen: Seen) -> int:
        context = self._rules.context(seen)
        cold = _get_cold_start_scale_up_replicas(context)
        if cold is not None:
            return cold
        config = self._rules.config
        observation = Observation(
            now_s=seen.now_s,
            running=seen.running,
            target=seen.target,
            backlog_tokens=seen.backlog_tokens,
            arrived_tokens=seen.arrived_tokens,
            tokens_per_s=seen.tokens_per_s,
            running_calls=seen.ongoing_calls,
            waiting_calls=0.0,
            min_replicas=config.min_replicas,
            max_replicas=config.max_replicas,
        )
        return self._rules.target(self._autoscaler.decide(observation), context)


class ServeDefault:
    """Serve's default policy: replicas in proportion to ongoing calls over a target for each.

    By default every setting is Ray's own: 2 ongoing calls a replica, reports every 10 s, a mean over 30 s, up after
    30 s and down after 600 s.
    """

    def __init__(
        self, name: str, min_replicas: int, max_replicas: int, report_every_s: float = 10.0, **config: float
    ) -> None:
        self.name, self.report_every_s = name, report_every_s
        self._rules = ServeRules(_config(min_replicas, max_replicas, **config))
        self.look_back_s = self._rules.config.look_back_period_s

    def decide(self, seen: Seen) -> int:
        context = self._rules.context(seen)
        cold = _get_cold_start_scale_up_replicas(context)
        if cold is not None:
            return cold
        desired, _ = default_autoscaling_policy(context)
        return self._rules.target(desired, context)


def contenders(settings: AutoscalingSettings, min_replicas: int, max_replicas: int) -> list[Policy]:
    """The last is the default policy with all that ours has: fresh reports, no delay upwards, as slow downwards.

    Its target, below one ongoing call a replica, is the best of many that were tried: from 2 on it sees no need while
    every replica is busy, so that a queue has to build up first, and then it orders far too many.
    """
    return [
        Ours(settings, min_replicas, max_replicas),
        ServeDefault("default", min_replicas, max_replicas),
        ServeDefault(
            "tuned default",
            min_replicas,
            max_replicas,
            report_every_s=1.0,
            look_back_period_s=11.0,  # up to metrics_interval_s the config warns
            upscale_delay_s=0.0,
            downscale_delay_s=settings.downscale_window_s,
            target_ongoing_requests=settings.target_utilisation,
        ),
    ]


def _config(min_replicas: int, max_replicas: int, **config: float) -> AutoscalingConfig:
    return AutoscalingConfig(min_replicas=min_replicas, max_replicas=max_replicas, **config)
