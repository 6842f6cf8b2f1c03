"""The autoscaling policy: invariants for any history of observations, and examples of the main cases."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from reranker.scheduling.autoscaling import (
    Autoscaler,
    AutoscalingSettings,
    CounterIncrease,
    Demand,
    Observation,
    replicas_wanted,
)

SETTINGS = AutoscalingSettings(
    tokens_per_s=1_000, tokens_per_call=500, startup_s=60, downscale_window_s=300, idle_s=600
)
QUIET = Observation(
    now_s=0,
    running=1,
    target=1,
    backlog_tokens=0,
    arrived_tokens=0,
    tokens_per_s=0,
    running_calls=0,
    waiting_calls=0,
    min_replicas=1,
    max_replicas=10_000,
)

tokens = st.floats(0, 1e9)
speeds = st.floats(1, 1e6)
demands = st.builds(
    Demand, backlog_tokens=tokens, arrival_tokens_per_s=tokens, tokens_per_s=speeds, capacity_tokens=tokens
)
some_settings = st.builds(
    AutoscalingSettings,
    target_queue_wait_s=st.floats(0.1, 60),
    target_utilisation=st.floats(0.1, 1),
    startup_s=st.floats(0, 600),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Observation]:
    """Observations of one deployment in order of time, each with any counts and reports."""
    moments = draw(st.lists(st.tuples(st.floats(0.1, 400), st.floats(0, 1e6)), min_size=1, max_size=25))
    min_replicas = draw(st.integers(0, 3))
    max_replicas = draw(st.integers(max(1, min_replicas), 50))
    now_s = arrived = 0.0
    history = []
    for passed_s, new_tokens in moments:
        now_s, arrived = now_s + passed_s, arrived + new_tokens
        history.append(
            Observation(
                now_s=now_s,
                running=draw(st.integers(0, 50)),
                target=draw(st.integers(0, 50)),
                backlog_tokens=draw(st.floats(0, 1e6)),
                arrived_tokens=arrived,
                tokens_per_s=draw(st.sampled_from([0.0, 1e-9, 900.0, 20_000.0])),
                running_calls=draw(st.floats(0, 100)),
                waiting_calls=draw(st.floats(0, 100)),
                min_replicas=min_replicas,
                max_replicas=max_replicas,
            )
        )
    return history


@given(demand=demands, settings=some_settings, more=tokens)
def test_more_work_never_wants_fewer_replicas(demand: Demand, settings: AutoscalingSettings, more: float) -> None:
    wanted = replicas_wanted(demand, settings)
    assert replicas_wanted(replace(demand, backlog_tokens=demand.backlog_tokens + more), settings) >= wanted
    assert (
        replicas_wanted(replace(demand, arrival_tokens_per_s=demand.arrival_tokens_per_s + more), settings) >= wanted
    )


@given(demand=demands, settings=some_settings)
def test_wanted_replicas_keep_up_with_the_arrivals_within_target_utilisation(
    demand: Demand, settings: AutoscalingSettings
) -> None:
    wanted = replicas_wanted(demand, settings)
    assert (
        wanted * demand.tokens_per_s * settings.target_utilisation >= demand.arrival_tokens_per_s * (1 - 1e-6) - 1e-3
    )
    if not demand.backlog_tokens and not demand.arrival_tokens_per_s:
        assert wanted == 0


@given(backlog=st.floats(1, 1e9), speed=speeds, wait_s=st.floats(0.1, 60))
def test_replicas_without_startup_time_clear_a_backlog_within_the_target_wait(
    backlog: float, speed: float, wait_s: float
) -> None:
    settings = AutoscalingSettings(startup_s=0, target_queue_wait_s=wait_s)
    wanted = replicas_wanted(Demand(backlog, 0, speed, 0), settings)
    assert backlog / (wanted * speed) <= wait_s * (1 + 1e-6)
    assert (wanted - 1) * speed * wait_s <= backlog * (1 + 1e-6), "one replica fewer would miss the target"


@given(history=histories())
def test_autoscaler_answers_within_min_and_max_replicas(history: list[Observation]) -> None:
    autoscaler = Autoscaler(SETTINGS)
    for seen in history:
        assert seen.min_replicas <= autoscaler.decide(seen) <= seen.max_replicas


@given(history=histories())
def test_autoscaler_never_answers_below_the_max_wanted_in_the_downscale_window(history: list[Observation]) -> None:
    autoscaler = Autoscaler(SETTINGS)
    wanted: list[tuple[float, int]] = []
    for seen in history:
        answer = autoscaler.decide(seen)
        wanted.append((seen.now_s, replicas_wanted(autoscaler.demand, SETTINGS)))
        recent = max(count for at, count in wanted if at >= seen.now_s - SETTINGS.downscale_window_s)
        assert answer >= min(recent, seen.max_replicas)


@given(history=histories(), backlog=st.floats(1e5, 1e9))
def test_more_backlog_never_gets_fewer_replicas_after_any_history(history: list[Observation], backlog: float) -> None:
    one, other = Autoscaler(SETTINGS), Autoscaler(SETTINGS)
    for seen in history:
        assert one.decide(seen) == other.decide(seen)
    last = replace(history[-1], now_s=history[-1].now_s + 1, running_calls=0)
    assert other.decide(replace(last, backlog_tokens=last.backlog_tokens + backlog)) >= one.decide(last)


def test_autoscaler_scales_up_at_once() -> None:
    autoscaler = Autoscaler(SETTINGS)
    assert autoscaler.decide(QUIET) == 1
    # One replica computes 60,000 tokens during the startup; 400,000 more should be done 20 s later.
    assert autoscaler.decide(replace(QUIET, now_s=1, backlog_tokens=460_000)) == 20


def test_backlog_done_before_a_new_replica_could_start_requests_none() -> None:
    autoscaler = Autoscaler(SETTINGS)
    assert autoscaler.decide(replace(QUIET, backlog_tokens=59_000)) == 1


def test_one_backlog_does_not_request_replicas_twice() -> None:
    """Twenty replicas are requested; while they start, the running one works on and nothing arrives."""
    autoscaler = Autoscaler(SETTINGS)
    autoscaler.decide(QUIET)
    for second in range(1, 60):
        seen = replace(QUIET, now_s=second, target=20 if second > 1 else 1, backlog_tokens=461_000 - 1_000 * second)
        assert autoscaler.decide(seen) == 20


def test_overdue_replicas_are_not_requested_again() -> None:
    autoscaler = Autoscaler(SETTINGS)
    autoscaler.decide(QUIET)
    for second in range(1, 600):
        seen = replace(QUIET, now_s=second, target=20 if second > 1 else 1, backlog_tokens=400_000)
        assert autoscaler.decide(seen) <= 20


def test_autoscaler_scales_down_after_the_downscale_window() -> None:
    autoscaler = Autoscaler(SETTINGS)
    autoscaler.decide(replace(QUIET, backlog_tokens=460_000))
    seen = replace(QUIET, running=20, target=20)
    assert autoscaler.decide(replace(seen, now_s=300)) == 20
    assert autoscaler.decide(replace(seen, now_s=301)) == 1


def test_autoscaler_scales_down_to_the_max_wanted_since_then() -> None:
    autoscaler = Autoscaler(SETTINGS)
    autoscaler.decide(replace(QUIET, backlog_tokens=460_000))
    seen = replace(QUIET, running=20, target=20)
    autoscaler.decide(replace(seen, now_s=100, backlog_tokens=1_400_000))
    autoscaler.decide(replace(seen, now_s=200))
    assert [autoscaler.decide(replace(seen, now_s=second)) for second in (300, 400, 401)] == [20, 10, 1]


def test_replicas_that_were_answered_are_not_wanted_once_more_when_they_are_requested() -> None:
    """The window of a scale-up begins with the answer, not when Serve has applied it."""
    autoscaler = Autoscaler(SETTINGS)
    autoscaler.decide(QUIET)
    assert autoscaler.decide(replace(QUIET, now_s=1, backlog_tokens=460_000)) == 20
    assert autoscaler.decide(replace(QUIET, now_s=3, running=20, target=20)) == 20
    assert autoscaler.decide(replace(QUIET, now_s=302, running=20, target=20)) == 1


def test_autoscaler_does_not_scale_down_by_less_than_a_tenth() -> None:
    """With 100 replicas, 91 needed change nothing; 90 needed do."""
    autoscaler = Autoscaler(replace_settings(downscale_window_s=0, rate_window_s=1, target_utilisation=1))
    seen = replace(QUIET, running=100, target=100)
    autoscaler.decide(seen)
    assert autoscaler.decide(replace(seen, now_s=1, arrived_tokens=91_000)) == 100
    assert autoscaler.decide(replace(seen, now_s=2, arrived_tokens=181_000)) == 90


def test_autoscaler_scales_to_zero_only_after_idle_s_and_only_from_one_replica() -> None:
    autoscaler = Autoscaler(SETTINGS)
    seen = replace(QUIET, min_replicas=0, running=3, target=3, arrived_tokens=10)
    assert autoscaler.decide(seen) == 3
    assert autoscaler.decide(replace(seen, now_s=400)) == 1
    one = replace(seen, running=1, target=1)
    assert autoscaler.decide(replace(one, now_s=599)) == 1
    assert autoscaler.decide(replace(one, now_s=600)) == 0
    assert autoscaler.decide(replace(one, now_s=602, arrived_tokens=11)) == 1, "a call came in between"
    delayed = Autoscaler(SETTINGS)  # Serve's own downscale delay keeps a second replica
    delayed.decide(seen)
    assert [delayed.decide(replace(seen, now_s=600, running=2, target=target)) for target in (2, 1)] == [1, 0]


def test_idle_deployment_scales_down_to_min_replicas() -> None:
    autoscaler = Autoscaler(SETTINGS)
    autoscaler.decide(replace(QUIET, running=9, target=9, min_replicas=2))
    assert autoscaler.decide(replace(QUIET, now_s=1_000, running=9, target=9, min_replicas=2)) == 2


def test_deployment_at_zero_stays_there_until_calls_wait() -> None:
    autoscaler = Autoscaler(SETTINGS)
    none = replace(QUIET, running=0, target=0, min_replicas=0)
    assert autoscaler.decide(none) == 0
    assert autoscaler.decide(replace(none, now_s=1)) == 0
    assert autoscaler.decide(replace(none, now_s=2, waiting_calls=1)) >= 1


def test_replica_that_serve_started_from_zero_is_not_cancelled() -> None:
    """Serve scales up from zero by itself; at the next decision nothing has been reported yet."""
    autoscaler = Autoscaler(SETTINGS)
    autoscaler.decide(replace(QUIET, running=0, target=0, min_replicas=0))
    for second in range(5_000, 5_500):
        assert autoscaler.decide(replace(QUIET, now_s=second, min_replicas=0)) == 1


def test_answer_applied_late_does_not_count_as_requested_by_serve() -> None:
    """With Serve's own downscale delay the target stays above the answer for a while."""
    autoscaler = Autoscaler(replace_settings(downscale_window_s=10))
    seen = replace(QUIET, running=9, target=9)
    autoscaler.decide(seen)
    assert [autoscaler.decide(replace(seen, now_s=second)) for second in (9, 11, 12, 100)] == [9, 1, 1, 1]


def test_waiting_calls_count_with_the_mean_tokens_of_running_calls() -> None:
    autoscaler = Autoscaler(SETTINGS)
    assert autoscaler.decide(replace(QUIET, waiting_calls=100)) == 1
    assert autoscaler.demand.backlog_tokens == pytest.approx(50_000)
    for second in range(1_000):
        autoscaler.decide(replace(QUIET, now_s=second, backlog_tokens=8_000, running_calls=4))
    autoscaler.decide(replace(QUIET, now_s=1_001, waiting_calls=100))
    assert autoscaler.demand.backlog_tokens == pytest.approx(200_000, rel=0.01)


@pytest.mark.parametrize(("running_calls", "tokens_per_call"), [(0.9, 500), (1, 1_395 / 1.99), (4, 1_395 / 4.99)])
def test_tokens_per_call_are_a_mean_in_which_earlier_observations_fade(
    running_calls: float, tokens_per_call: float
) -> None:
    """Of 500 tokens per call, which weigh as one call, 99% stay; less than one running call is no observation."""
    autoscaler = Autoscaler(SETTINGS)
    autoscaler.decide(replace(QUIET, backlog_tokens=900, running_calls=running_calls, waiting_calls=2))
    assert autoscaler.demand.backlog_tokens == pytest.approx(900 + 2 * tokens_per_call)


def arrival_rates(arrivals: dict[float, float]) -> list[float]:
    """The rate after each observation of a counter of tokens, at these times."""
    autoscaler, rates = Autoscaler(replace_settings(rate_window_s=10)), []
    for now_s, tokens in arrivals.items():
        autoscaler.decide(replace(QUIET, now_s=now_s, arrived_tokens=tokens))
        rates.append(autoscaler.demand.arrival_tokens_per_s)
    return rates


def test_arrival_rate_is_the_mean_of_the_window_even_before_it_has_passed() -> None:
    rising = {float(second): 100.0 * second for second in range(21)}
    assert arrival_rates(rising) == pytest.approx([10.0 * min(second, 10) for second in range(21)])
    assert arrival_rates(rising | {25.0: 2_000.0, 30.0: 2_000.0})[-2:] == pytest.approx([50, 0])


def test_arrival_rate_between_distant_observations_is_that_since_the_one_before() -> None:
    assert arrival_rates({0: 0, 50: 0, 100: 5_000}) == [0, 0, 100]
    assert arrival_rates({0: 0, 7: 700, 14: 1_400, 21: 2_100}) == pytest.approx([0, 70, 100, 100])


def test_arrival_rate_is_not_negative_when_a_counter_falls() -> None:
    assert arrival_rates({0: 5_000, 5: 0}) == [0, 0]


def test_calls_that_wait_at_a_handle_have_arrived() -> None:
    autoscaler = Autoscaler(SETTINGS)
    autoscaler.decide(QUIET)
    autoscaler.decide(replace(QUIET, now_s=1, arrived_tokens=300, waiting_calls=2))
    assert autoscaler.demand.arrival_tokens_per_s == pytest.approx(130)  # in 10 s, at 500 tokens a call


@pytest.mark.parametrize(
    ("now_s", "running", "target", "replica_seconds"),
    [
        (21, 1, 4, 60 + 20 + 20 + 0),  # two requested 20 s ago, one now
        (41, 1, 4, 60 + 40 + 40 + 20),
        (41, 2, 4, 120 + 40 + 20),  # one of the two requested first is ready
        (41, 3, 4, 180 + 20),
        (41, 4, 4, 240),
        (41, 1, 2, 60 + 20),  # two are not requested any more: those requested first
        (41, 5, 4, 300),  # Serve is stopping one
        (71, 1, 4, 60 + 60 + 60 + 50),  # two are overdue by 10 s, and count as ready now
    ],
)
def test_capacity_counts_what_a_starting_replica_can_compute_within_the_startup_time(
    now_s: float, running: int, target: int, replica_seconds: float
) -> None:
    """Two replicas are requested at 1 s and one more at 21 s; each starts in 60 s and computes 1,000 tokens/s."""
    autoscaler = Autoscaler(SETTINGS)
    for second, requested in ((0, 1), (1, 3), (21, 4)):
        autoscaler.decide(replace(QUIET, now_s=second, target=requested))
    autoscaler.decide(replace(QUIET, now_s=now_s, running=running, target=target))
    assert autoscaler.demand.capacity_tokens == pytest.approx(1_000 * replica_seconds)


@given(history=histories(), back_s=st.floats(0, 1e3))
def test_clock_that_goes_back_stands_still_instead(history: list[Observation], back_s: float) -> None:
    *earlier, last = [*history, history[-1]]
    one, other = Autoscaler(SETTINGS), Autoscaler(SETTINGS)
    for seen in earlier:
        assert one.decide(seen) == other.decide(seen)
    assert one.decide(last) == other.decide(replace(last, now_s=last.now_s - back_s))
    assert one.demand == other.demand


def test_rounding_errors_and_tiny_throughputs_give_a_finite_number_of_replicas() -> None:
    assert replicas_wanted(Demand(0, 2_400 * (1 + 1e-15), 1_000, 1e6), SETTINGS) == 3
    assert replicas_wanted(Demand(0, 2_400.01, 1_000, 1e6), SETTINGS) == 4
    assert replicas_wanted(Demand(1e9, 1e9, 5e-324, 0), SETTINGS) == 10**15


def test_autoscaler_keeps_the_throughput_measured_last() -> None:
    autoscaler = Autoscaler(SETTINGS)
    autoscaler.decide(QUIET)
    assert autoscaler.demand.tokens_per_s == 1_000
    autoscaler.decide(replace(QUIET, now_s=1, tokens_per_s=70))
    autoscaler.decide(replace(QUIET, now_s=2))
    assert autoscaler.demand.tokens_per_s == 70


@given(counts=st.lists(st.floats(0, 1e6), min_size=2, max_size=20))
def test_counter_that_restarts_at_zero_adds_its_new_count(counts: list[float]) -> None:
    increase = CounterIncrease()
    seen = [increase.add({"a": count}, ["a"]) for count in counts]
    assert seen == sorted(seen)
    assert seen[0] == 0
    steps = [after - before if after >= before else after for before, after in pairwise(counts)]
    assert seen[-1] == pytest.approx(math.fsum(steps), abs=1e-3)


def test_new_counter_adds_its_first_count_and_preexisting_counter_does_not() -> None:
    increase = CounterIncrease()
    assert increase.add({}, ["old"]) == 0
    assert increase.add({"old": 900.0}, ["old"]) == 0
    assert increase.add({"old": 910.0, "new": 5.0}, ["old", "new"]) == 15
    assert increase.add({"old": 910.0}, ["old", "new"]) == 15, "not reported for a while"
    assert increase.add({"old": 910.0, "new": 6.0}, ["old", "new"]) == 16
    assert increase.add({"new": 6.0}, ["new"]) == 16


def test_counter_that_vanished_begins_at_zero_when_its_name_comes_back() -> None:
    increase = CounterIncrease()
    increase.add({"a": 1.0}, [])  # reported, but not listed as alive
    assert increase.add({"a": 1.0, "b": 6.0}, ["a", "b"]) == 6
    assert increase.add({"a": 1.0}, ["a"]) == 6
    assert increase.add({"a": 1.0, "b": 8.0}, ["a", "b"]) == 14


@pytest.mark.parametrize(
    "wrong", [{"target_utilisation": 0}, {"target_utilisation": 1.1}, {"target_wait": 2}, {"tokens_per_s": 0}]
)
def test_autoscaling_settings_refuse_unknown_names_and_values_out_of_bounds(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        AutoscalingSettings.model_validate(wrong)


def test_autoscaling_settings_accept_the_old_name_of_downscale_window_s() -> None:
    assert AutoscalingSettings.model_validate({"remember_s": 9}).downscale_window_s == 9


def replace_settings(**changes: float) -> AutoscalingSettings:
    return AutoscalingSettings.model_validate(SETTINGS.model_dump() | changes)
