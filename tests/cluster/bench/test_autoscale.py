"""The autoscaling benchmark: its traces and figures, results of the simulation, and one live run (slow)."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from cluster.bench.autoscale.figures import figures, flaps
from cluster.bench.autoscale.live import LiveSettings, arrival_times, graph_config, measure_live
from cluster.bench.autoscale.measure import simulate_all
from cluster.bench.autoscale.policies import Observed, OurPolicy, Policy, ServeDefault, contenders
from cluster.bench.autoscale.simulation import World, simulate
from cluster.bench.autoscale.traces import SHAPES, Trace, make_trace
from cluster.cli.main import main
from reranker.scheduling.autoscaling import AutoscalingSettings

WORLD = World(peak_replicas=100)
SETTINGS = AutoscalingSettings()


class Fixed:
    """A policy that always wants the same number of replicas."""

    name = "fixed"
    report_every_s = 1.0
    look_back_s = 3.0

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas
        self.observed: list[Observed] = []

    def decide(self, observed: Observed) -> int:
        self.observed.append(observed)
        return self.replicas


@pytest.mark.parametrize("name", SHAPES)
def test_traces_are_deterministic_for_a_seed(name: str) -> None:
    assert np.array_equal(make_trace(name, 3).rates, make_trace(name, 3).rates)
    short = make_trace(name, 3, 60).rates
    assert short.shape == (60,)
    assert short.min() >= 0
    assert short.max() > 0


def test_replicas_run_after_startup_and_are_paid_from_their_request() -> None:
    world = World(peak_replicas=10, startup_s=5)
    policy = Fixed(10)
    run = simulate(Trace("flat", np.full(20, 0.1)), policy, world)
    assert run.running.tolist() == [1] * 6 + [10] * 14
    assert run.paid.tolist() == [1] + [10] * 19
    assert policy.observed[3].target == 10
    assert policy.observed[3].running == 1


def test_wait_is_the_time_until_earlier_and_own_work_is_processed() -> None:
    """20 s of work for the one replica arrive in the first second, and nothing else."""
    world = World(peak_replicas=20, tokens_per_s=100, call_tokens=1)
    rates = np.zeros(60)
    rates[0] = 1.0
    run = simulate(Trace("one", rates), Fixed(1), World(20, 100, 1, startup_s=1000))
    assert run.wait_s[0] == pytest.approx(np.ceil(world.arrivals(Trace("one", rates))[0] / 100), abs=20)
    assert run.wait_s[1:].max() == 0


def test_enough_replicas_keep_the_target_wait() -> None:
    trace = Trace("flat", np.full(600, 0.5))
    row = figures("flat", "fixed", simulate(trace, Fixed(60), WORLD), WORLD.ideal_replicas(trace), 2.0)
    assert (row.over_target_s, row.work_over_target) == (0, 0)
    assert row.over_ideal == pytest.approx(60 / 50, rel=0.01)
    assert row.flaps == 0


def test_flaps_count_changes_of_direction() -> None:
    assert flaps(np.array([1.0, 2, 2, 3, 1, 1, 0, 4])) == 2
    assert flaps(np.array([1.0, 1, 2, 5])) == 0


@pytest.mark.parametrize("name", ["step", "burst", "herd"])
def test_our_policy_waits_less_and_costs_less_than_the_default(name: str) -> None:
    (result,) = simulate_all([name], WORLD, SETTINGS, lambda _: None)
    ours, default, tuned = result.figures
    assert ours.over_target_s < 0.5 * default.over_target_s
    assert ours.replica_s < 0.5 * default.replica_s
    # With frequent metrics, no delay and the best target the default waits about as little, at a higher cost.
    assert ours.replica_s < 0.95 * tuned.replica_s
    assert ours.flaps < tuned.flaps


def test_both_policies_scale_to_zero_and_back() -> None:
    trace = make_trace("zero", 0)
    ours = simulate(trace, OurPolicy(SETTINGS, 0, 400), WORLD)
    for run in (ours, simulate(trace, ServeDefault("", 0, 400), WORLD)):
        assert run.paid.min() == 0
        assert run.running[-1] > 0
    assert ours.wait_s[-600:].max() <= SETTINGS.target_queue_wait_s


def test_simulation_handles_ten_thousand_replicas() -> None:
    world = World(peak_replicas=10_000)
    trace = make_trace("step", 0)
    run = simulate(trace, contenders(SETTINGS, 1, 40_000)[0], world)
    assert run.running.max() >= 10_000
    assert run.wait_s[-600:].max() <= SETTINGS.target_queue_wait_s


def test_contenders_are_policies_with_different_names() -> None:
    policies: list[Policy] = contenders(SETTINGS, 1, 10)
    assert len({policy.name for policy in policies}) == 3


def test_command_prints_tables_writes_json_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, written = tmp_path / "runs.png", tmp_path / "figures.json"
    arguments = ["--replicas", "8", "--traces", "herd", "--picture", str(picture), "--json", str(written)]
    monkeypatch.setattr(sys, "argv", ["reranker", "bench", "autoscale", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "tuned default" in capsys.readouterr().err
    assert picture.read_bytes().startswith(b"\x89PNG")
    rows = json.loads(written.read_text())["simulated"]
    assert [(row["trace"], row["policy"]) for row in rows] == [
        ("herd", "ours"),
        ("herd", "default"),
        ("herd", "tuned default"),
    ]


def test_command_has_help_and_names_unknown_traces(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["reranker", "bench", "autoscale", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "--live" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["reranker", "bench", "autoscale", "--traces", "tide"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "'tide' is not known: use any of step,wave,burst,herd,zero" in capsys.readouterr().err


def test_live_runs_differ_only_in_their_policy() -> None:
    settings = LiveSettings()
    ours, default = (graph_config("zero", policy, settings, 8321) for policy in ("ours", "default"))
    scalings = [config["applications"][0]["deployments"][0].pop("autoscaling_config") for config in (ours, default)]
    assert ours == default
    assert [scaling["min_replicas"] for scaling in scalings] == [0, 0]
    AutoscalingSettings.model_validate(scalings[0]["policy"]["policy_kwargs"])
    times = arrival_times("zero", settings)
    assert times == sorted(times) == arrival_times("zero", settings)
    assert times[-1] < settings.length_s


@pytest.mark.slow
def test_real_serve_scales_to_zero_and_back_without_failed_requests() -> None:
    messages: list[str] = []
    rows = measure_live(["zero"], LiveSettings(length_s=75), messages.append, ["ours"])
    assert len(rows) == 1, messages
    (row,) = rows
    assert row["requests"] > 10
    assert (row["failed"], row["refused"]) == (0, 0), row["problems"]
    running = [running for _, running, _ in row["replicas"]]
    zero = running.index(0)
    assert max(running[:zero]) >= 1
    assert max(running[zero:]) >= 1
