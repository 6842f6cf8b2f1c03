"""The simulated policies: ours, Serve's default with its own settings, and Serve's default tuned like ours.

What Serve does around a policy (start from zero, scaling factors, delays) is computed by Ray's own functions, with
the simulation's clock.
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
class Observed:
    """What Serve's metrics show. ongoing_calls: mean over the look-back period; tokens: as of the last report."""

    now_s: float
    running: int
    target: int
    ongoing_calls: float
    backlog_tokens: float
    arrived_tokens: float
    tokens_per_s: float


class Policy(Protocol):
    """report_every_s, look_back_s: period of the metrics it sees, and the window that they are averaged over."""

    name: str
    report_every_s: float
    look_back_s: float

    def decide(self, observed: Observed) -> int: ...


@dataclass
class ServeRules:
    """What Serve does around a policy's decision."""

    config: AutoscalingConfig
    state: dict[str, Any] = field(default_factory=dict)

    def context(self, observed: Observed) -> AutoscalingContext:
        return AutoscalingContext(
            deployment_id=_ID,
            deployment_name=_ID.name,
            app_name=_ID.app_name,
            current_num_replicas=observed.running,
            target_num_replicas=observed.target,
            running_replicas=[],
            total_num_requests=observed.ongoing_calls,
            total_queued_requests=0.0,
            aggregated_metrics=None,
            raw_metrics=None,
            capacity_adjusted_min_replicas=self.config.min_replicas,
            capacity_adjusted_max_replicas=self.config.max_replicas,
            policy_state={},
            last_scale_up_time=None,
            last_scale_down_time=None,
            current_time=observed.now_s,
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


class OurPolicy:
    """`scheduling.autoscaling.Autoscaler` without Serve's delays, because it has a downscale window of its own."""

    name = "ours"
    report_every_s = 1.0
    look_back_s = 3.0

    def __init__(self, settings: AutoscalingSettings, min_replicas: int, max_replicas: int) -> None:
        self._rules = ServeRules(_config(min_replicas, max_replicas, upscale_delay_s=0, downscale_delay_s=0))
        self._autoscaler = Autoscaler(settings)

    def decide(self, observed: Observed) -> int:
        context = self._rules.context(observed)
        cold = _get_cold_start_scale_up_replicas(context)
        if cold is not None:
            return cold
        config = self._rules.config
        observation = Observation(
            now_s=observed.now_s,
            running=observed.running,
            target=observed.target,
            backlog_tokens=observed.backlog_tokens,
            arrived_tokens=observed.arrived_tokens,
            tokens_per_s=observed.tokens_per_s,
            running_calls=observed.ongoing_calls,
            waiting_calls=0.0,
            min_replicas=config.min_replicas,
            max_replicas=config.max_replicas,
        )
        return self._rules.target(self._autoscaler.decide(observation), context)


class ServeDefault:
    """Serve's default policy: replicas in proportion to ongoing calls, with a target number per replica.

    Without `config`, the settings are Ray's defaults: 2 ongoing calls per replica, metrics every 10 s, averaged over
    30 s, scaling up after 30 s and down after 600 s.
    """

    def __init__(
        self, name: str, min_replicas: int, max_replicas: int, report_every_s: float = 10.0, **config: float
    ) -> None:
        self.name, self.report_every_s = name, report_every_s
        self._rules = ServeRules(_config(min_replicas, max_replicas, **config))
        self.look_back_s = self._rules.config.look_back_period_s

    def decide(self, observed: Observed) -> int:
        context = self._rules.context(observed)
        cold = _get_cold_start_scale_up_replicas(context)
        if cold is not None:
            return cold
        desired, _ = default_autoscaling_policy(context)
        return self._rules.target(desired, context)


def contenders(settings: AutoscalingSettings, min_replicas: int, max_replicas: int) -> list[Policy]:
    """Our policy, Serve's default, and the default with our advantages: frequent metrics, no delay in scaling up.

    The target of the last, less than one ongoing call per replica, was the best of many. From 2 upwards it asks for
    no replica while all are busy, until a queue has formed, and then for far too many.
    """
    return [
        OurPolicy(settings, min_replicas, max_replicas),
        ServeDefault("default", min_replicas, max_replicas),
        ServeDefault(
            "tuned default",
            min_replicas,
            max_replicas,
            report_every_s=1.0,
            look_back_period_s=11.0,  # the config warns unless it exceeds metrics_interval_s
            upscale_delay_s=0.0,
            downscale_delay_s=settings.downscale_window_s,
            target_ongoing_requests=settings.target_utilisation,
        ),
    ]


def _config(min_replicas: int, max_replicas: int, **config: float) -> AutoscalingConfig:
    return AutoscalingConfig(min_replicas=min_replicas, max_replicas=max_replicas, **config)
