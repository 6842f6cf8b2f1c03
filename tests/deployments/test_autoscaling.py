"""The policy class that Serve's controller calls, on contexts as the controller builds them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from pydantic import ValidationError
from ray import cloudpickle
from ray.serve._private.common import DeploymentID, ReplicaID, TimeStampedValue
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from deployments.autoscaling import WorkPolicy

ID = DeploymentID(name="Scorer")
SETTINGS = {"tokens_per_s": 1_000, "tokens_per_call": 500, "startup_s": 60, "downscale_window_s": 300, "idle_s": 600}
Reports = Mapping[str, Mapping[str, float]]


def context(
    now_s: float,
    reports: Reports,
    *,
    running: Sequence[str] = ("a",),
    target: int | None = None,
    calls: float = 0.0,
    queued: float | None = 0.0,
    min_replicas: int = 1,
) -> AutoscalingContext:
    """reports: replica -> the last record_autoscaling_stats; an older report differs, to show that it is not used."""
    replicas = {name: ReplicaID(name, ID) for name in running}
    raw: dict[str, dict[ReplicaID, list[Any]]] = {}
    for name, stats in reports.items():
        for key, value in stats.items():
            series = [TimeStampedValue(now_s - 2, 12_345_678.0), TimeStampedValue(now_s - 1, value)]
            raw.setdefault(key, {})[replicas[name]] = series
    return AutoscalingContext(
        deployment_id=ID,
        deployment_name=ID.name,
        app_name=ID.app_name,
        current_num_replicas=len(running),
        target_num_replicas=len(running) if target is None else target,
        running_replicas=list(replicas.values()),
        total_num_requests=lambda: calls,
        total_queued_requests=lambda: queued,  # type: ignore[arg-type, return-value]
        aggregated_metrics=None,
        raw_metrics=lambda: raw,
        capacity_adjusted_min_replicas=min_replicas,
        capacity_adjusted_max_replicas=50,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=now_s,
        config=AutoscalingConfig(min_replicas=min_replicas, max_replicas=50),
    )


def stats(backlog: float = 0.0, arrived: float = 0.0, speed: float = 1_000.0) -> dict[str, float]:
    return {"backlog_tokens": backlog, "arrived_tokens": arrived, "tokens_per_s": speed}


def on_clock(**settings: float) -> Callable[..., int]:
    """A policy whose clock shows the time of the context it is called with, also if Serve says another `wall_s`."""
    now_s = 0.0
    policy = WorkPolicy(clock=lambda: now_s, **settings)

    def call(ctx: AutoscalingContext, wall_s: float | None = None) -> int:
        nonlocal now_s
        now_s = float(ctx.current_time or 0.0)
        if wall_s is not None:
            ctx.current_time = wall_s
        return policy(ctx)[0]

    return call


def test_policy_keeps_its_state_when_serve_creates_and_calls_it() -> None:
    """As the controller does: the class by its import path, pickled by value, called with its kwargs."""
    policy = AutoscalingPolicy(policy_function="deployments.autoscaling:WorkPolicy", policy_kwargs=SETTINGS)
    made = cloudpickle.loads(policy.get_serialized_policy_def())(**policy.policy_kwargs)
    assert made(context(0, {"a": stats()})) == (1, {})
    assert made(context(1, {"a": stats(backlog=460_000)}, target=2)) == (20, {})
    assert made(context(2, {"a": stats()}, target=20)) == (20, {})


@pytest.mark.parametrize("step_s", [-600.0, 3_600.0])
def test_steps_of_the_wall_clock_change_no_decision(step_s: float) -> None:
    """Serve's current_time is the wall clock: NTP may set it back by minutes while work waits."""

    def decisions(wall_s: float) -> list[int]:
        policy = on_clock(**SETTINGS)
        policy(context(0, {"a": stats()}))
        return [
            policy(context(second, {"a": stats(backlog=5e6, arrived=4_000.0 * second)}), wall_s + second)
            for second in (1, 30, 60, 300, 640)
        ]

    assert decisions(1_000_000.0 + step_s) == decisions(1_000_000.0)
    assert decisions(1_000_000.0)[0] > 1


@pytest.mark.parametrize("wrong", [{"target_wait_s": 2}, {"target_utilisation": 3}])
def test_policy_constructor_rejects_unknown_and_invalid_kwargs(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        WorkPolicy(**wrong)


def test_policy_sums_backlogs_and_averages_measured_speeds() -> None:
    policy = on_clock(**SETTINGS)
    reports = {"a": stats(100_000, speed=500), "b": stats(300_000, speed=1_500), "c": stats(60_000, speed=0)}
    # Three replicas of 1,000 tokens/s read 180,000 in startup_s; the other 280,000 are spread over 20 s.
    assert policy(context(0, reports, running="abc")) == 14


def test_arrivals_are_counter_increases_and_survive_the_replacement_of_a_replica() -> None:
    policy = on_clock(**SETTINGS)
    policy(context(0, {"a": stats(arrived=1e9)}))
    policy(context(10, {"a": stats(arrived=1e9 + 40_000)}))
    # 4,000 tokens/s need four replicas; the 180,000 tokens that one leaves over in startup_s need nine more.
    assert policy(context(20, {"b": stats(arrived=40_000)}, running="b")) == 13


def test_missing_and_non_finite_reports_are_ignored() -> None:
    policy = on_clock(**SETTINGS)
    assert policy(context(0, {})) == 1
    assert policy(context(1, {"a": stats(math.nan, math.nan, math.nan)})) == 1
    assert policy(context(2, {"a": {"backlog_tokens": 0.0}}, queued=None)) == 1
    assert policy(context(3, {"a": stats(-1.0, math.inf, -5.0)}, calls=math.nan)) == 1
    assert policy(context(4, {"a": stats()})) == 1


def test_calls_are_counted_when_no_replica_reports() -> None:
    policy = on_clock(**SETTINGS)
    assert policy(context(0, {})) == 1
    assert policy(context(1, {}, calls=920)) > 20


def test_calls_queued_at_handles_count_beside_reported_backlogs() -> None:
    policy = on_clock(**SETTINGS)
    assert policy(context(0, {"a": stats()})) == 1
    assert policy(context(1, {"a": stats()}, calls=920, queued=920)) > 20


def test_decision_is_reused_for_half_a_second_unless_replica_counts_change() -> None:
    policy = on_clock(**SETTINGS)
    busy = {"a": stats(backlog=460_000)}
    assert policy(context(0, {"a": stats()})) == 1
    assert policy(context(0.1, busy)) == 1
    assert policy(context(0.2, busy, target=2)) > 1
    assert policy(context(0.8, busy, target=2)) > 1


def test_policy_scales_to_zero_and_accepts_the_replica_that_serve_starts() -> None:
    policy = on_clock(**SETTINGS)
    assert policy(context(0, {"a": stats()}, min_replicas=0)) == 1
    assert policy(context(700, {"a": stats()}, min_replicas=0)) == 0
    assert policy(context(800, {}, running="", min_replicas=0)) == 0
    # A call arrived and Serve started a replica without calling the policy; it has not reported yet.
    assert policy(context(900, {}, running="b", min_replicas=0)) == 1
    assert policy(context(901, {"b": stats(arrived=500)}, running="b", min_replicas=0)) == 1
