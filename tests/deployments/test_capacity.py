"""A gateway's view of the fleet, on a fake controller and a fake scorer."""

import asyncio
import math
import threading
from typing import Any, cast

import pytest
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ServeStatus

from deployments.capacity import Capacity, Fleet
from reranker.errors import NoScorerYet, Unavailable
from tests.deployments import fleets
from tests.deployments.handles import DESCRIPTION, FakeHandle, FakeScorer, Hang


class FakeController:
    """status: what it answers, or raises. While `blocked` it does not answer. asked: how often it was asked."""

    def __init__(self, status: ServeStatus | Exception | None = None) -> None:
        self.status = status or fleets.status()
        self.asked = 0
        self._answering = threading.Event()
        self._answering.set()

    def block(self) -> None:
        self._answering.clear()

    def unblock(self) -> None:
        self._answering.set()

    def __call__(self) -> ServeStatus:
        self.asked += 1
        assert self._answering.wait(10)
        if isinstance(self.status, Exception):
            raise self.status
        return self.status


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def make_capacity(
    controller: FakeController, clock: Clock | None = None, describe_error: Exception | None = None
) -> Capacity:
    scorer = cast(DeploymentHandle[Any], FakeHandle("Scorer", FakeScorer(describe_error=describe_error)))
    return Capacity(scorer, fleets.context, controller, clock or Clock())


async def settle() -> None:
    """Let a refresh in the background finish."""
    await asyncio.sleep(0.02)


async def test_share_is_infinite_before_a_speed_was_measured() -> None:
    assert make_capacity(FakeController()).tokens_per_s == math.inf


async def test_share_is_an_equal_part_of_what_all_scorers_read() -> None:
    capacity = make_capacity(FakeController(fleets.status(scorers=6, gateways=4, starting=5)))
    await capacity.refresh()
    assert capacity.tokens_per_s == 1_000 * 6 / 4


async def test_share_without_running_scorers_is_that_of_one() -> None:
    capacity = make_capacity(FakeController(fleets.status(scorers=0, gateways=0)))
    await capacity.refresh()
    capacity.observe(1_000)
    assert capacity.tokens_per_s == 1_000


async def test_speed_is_a_moving_average_that_starts_at_the_first_observation() -> None:
    capacity = make_capacity(FakeController())
    capacity.observe(1_000)
    assert capacity.tokens_per_s == 1_000
    capacity.observe(2_000)
    assert capacity.tokens_per_s == pytest.approx(1_100)


async def test_first_request_knows_the_model_although_metrics_were_read_before_a_scorer_ran() -> None:
    controller = FakeController(fleets.status(scorers=0, starting=1))
    capacity = make_capacity(controller)
    await capacity.refresh(for_metrics=True)
    assert capacity.description is None
    controller.status = fleets.status(scorers=1)
    await capacity.refresh(for_metrics=True)
    assert capacity.fleet.scorers == 0  # read a moment ago
    await capacity.refresh()
    assert capacity.fleet.scorers == 1
    assert capacity.description is not None


async def test_replicas_on_their_way_are_counted_apart() -> None:
    capacity = make_capacity(FakeController(fleets.status(scorers=2, starting=3)))
    await capacity.refresh()
    assert (capacity.fleet.scorers, capacity.fleet.starting_scorers, capacity.fleet.starting_gateways) == (2, 3, 0)


async def test_first_refresh_reads_fleet_and_model() -> None:
    capacity = make_capacity(FakeController(fleets.status(scorers=2)))
    await capacity.refresh()
    assert capacity.fleet == Fleet(scorers=2, gateways=1)
    assert capacity.description == DESCRIPTION
    assert capacity.tokens_per_s == 2 * DESCRIPTION.tokens_per_s


async def test_refresh_survives_a_scorer_that_cannot_be_described() -> None:
    capacity = make_capacity(FakeController(), describe_error=RuntimeError("busy"))
    await capacity.refresh()
    assert capacity.description is None
    assert capacity.tokens_per_s == math.inf


async def test_refresh_asks_the_controller_every_five_seconds_at_most() -> None:
    controller, clock = FakeController(), Clock()
    capacity = make_capacity(controller, clock=clock)
    for now_s, asked in [(100, 1), (104.9, 1), (105, 2), (109.9, 2), (111, 3)]:
        clock.now_s = now_s
        await capacity.refresh()
        await settle()
        assert controller.asked == asked


async def test_only_the_first_caller_waits_for_a_refresh() -> None:
    controller, clock = FakeController(fleets.status(scorers=2)), Clock()
    capacity = make_capacity(controller, clock=clock)
    controller.block()
    first = asyncio.create_task(capacity.refresh())
    await settle()
    await asyncio.wait_for(capacity.refresh(), 0.1)  # a second caller meanwhile
    assert not first.done()
    controller.unblock()
    await first
    assert capacity.fleet.scorers == 2

    controller.status = fleets.status(scorers=3)
    controller.block()
    clock.now_s += 5
    await asyncio.wait_for(capacity.refresh(), 0.1)
    assert capacity.fleet.scorers == 2
    controller.unblock()
    await settle()
    assert capacity.fleet.scorers == 3


async def test_fleet_stays_when_the_controller_does_not_answer() -> None:
    controller, clock = FakeController(fleets.status(scorers=2)), Clock()
    capacity = make_capacity(controller, clock=clock)
    await capacity.refresh()
    controller.status = TimeoutError("no controller")
    clock.now_s += 5
    await capacity.refresh()
    await settle()
    assert controller.asked == 2
    assert capacity.fleet.scorers == 2


FAILED = "File x.py\nreranker.errors.FidelityError: golden pair 3 differs\n"


async def test_check_raises_serves_reason_when_no_scorer_will_ever_start() -> None:
    capacity = make_capacity(FakeController(fleets.status(0, scorer_status="DEPLOY_FAILED", message=FAILED)))
    capacity.check()  # nothing is known yet
    await capacity.refresh()
    with pytest.raises(Unavailable, match=r"Scorer: DEPLOY_FAILED: .*golden pair 3 differs$"):
        capacity.check()


@pytest.mark.parametrize(
    "status",
    [fleets.status(1, scorer_status="DEPLOY_FAILED"), fleets.status(0, scorer_status="UNHEALTHY"), fleets.status(0)],
    ids=["old version still runs", "replica is being replaced", "scaled to zero"],
)
async def test_check_passes_when_a_scorer_runs_or_may_start(status: ServeStatus) -> None:
    capacity = make_capacity(FakeController(status))
    await capacity.refresh()
    capacity.check()


async def test_describe_gives_the_last_description_when_scaled_to_zero() -> None:
    controller, clock = FakeController(), Clock()
    capacity = make_capacity(controller, clock=clock)
    assert await capacity.describe() == DESCRIPTION
    controller.status = fleets.status(0)
    clock.now_s += 5
    await capacity.refresh()
    await settle()
    assert capacity.fleet.scorers == 0
    assert await capacity.describe() == DESCRIPTION


async def test_describe_says_that_a_request_starts_the_first_scorer() -> None:
    with pytest.raises(Unavailable, match="the next request starts one"):
        await make_capacity(FakeController(fleets.status(0))).describe()


async def test_describe_notices_a_scorer_that_has_just_started() -> None:
    controller = FakeController(fleets.status(0))
    capacity = make_capacity(controller)
    await capacity.refresh()
    controller.status = fleets.status(1)
    assert await capacity.describe() == DESCRIPTION


async def test_scaled_to_zero_says_when_a_scorer_should_run_and_starts_one_with_a_single_call() -> None:
    controller, clock = FakeController(fleets.status(0)), Clock()
    handle = FakeHandle("Scorer", FakeScorer(describe_error=(starting := Hang())))
    capacity = Capacity(cast(DeploymentHandle[Any], handle), fleets.context, controller, clock)
    await capacity.refresh()
    for passed_s, left_s in ((0.0, 60.0), (20.0, 40.0), (100.0, 30.0)):
        clock.now_s += passed_s
        with pytest.raises(NoScorerYet) as raised:
            capacity.check_running()
        assert raised.value.retry_after_s == left_s
        await settle()
    assert [call.method for call in handle.calls] == ["describe"]
    controller.status = fleets.status(1)
    starting.end()
    await settle()
    capacity.check_running()
    assert capacity.description == DESCRIPTION

    controller.status = fleets.status(0)
    clock.now_s += 600
    await capacity.refresh()
    await settle()
    with pytest.raises(NoScorerYet) as raised:
        capacity.check_running()
    assert raised.value.retry_after_s == 120, "what the last start took"


async def test_scorer_that_does_not_start_is_a_failure_in_the_end() -> None:
    clock, status = Clock(), fleets.status(0, scorer_status="UNHEALTHY", message="RuntimeError: no weights")
    handle = FakeHandle("Scorer", FakeScorer(describe_error=Hang()))
    capacity = Capacity(cast(DeploymentHandle[Any], handle), fleets.context, FakeController(status), clock)
    await capacity.refresh()
    with pytest.raises(NoScorerYet):
        capacity.check_running()
    clock.now_s += 301
    with pytest.raises(Unavailable, match="RuntimeError: no weights"):
        capacity.check_running()


async def test_scorer_that_cannot_be_started_is_tried_again_with_the_next_request() -> None:
    handle = FakeHandle("Scorer", FakeScorer(describe_error=RuntimeError()))
    capacity = Capacity(
        cast(DeploymentHandle[Any], handle), fleets.context, FakeController(fleets.status(0)), Clock()
    )
    await capacity.refresh()
    for _ in range(2):
        with pytest.raises(NoScorerYet):
            capacity.check_running()
        await settle()
    assert len(handle.calls) == 2


async def test_describe_raises_serves_reason_when_the_scorer_fails() -> None:
    status = fleets.status(1, scorer_status="UNHEALTHY", message="RuntimeError: out of memory")
    capacity = make_capacity(FakeController(status), describe_error=RuntimeError())
    with pytest.raises(Unavailable, match="Scorer: UNHEALTHY: RuntimeError: out of memory"):
        await capacity.describe()
