"""Passes side by side: results in order, preparation one at a time, errors out."""

import threading
from collections.abc import Callable

import pytest
import torch

from reranker.engine.workers import Workers


def test_passes_run_at_the_same_time_and_results_keep_the_order() -> None:
    both_run = threading.Barrier(3)

    def prepare(item: int) -> Callable[[], int]:
        def run() -> int:
            both_run.wait(timeout=30)  # breaks unless three passes are under way at once
            return item * item

        return run

    assert Workers(3, 1).map(prepare, range(9)) == [item * item for item in range(9)]


def test_preparing_goes_in_order_and_never_twice_at_a_time() -> None:
    prepared: list[int] = []
    at_work = threading.Lock()

    def prepare(item: int) -> Callable[[], int]:
        assert at_work.acquire(blocking=False)
        prepared.append(item)
        at_work.release()
        return lambda: item

    Workers(4, 1).map(prepare, range(200))
    assert prepared == list(range(200))


@pytest.mark.parametrize("where", ["prepare", "run"])
def test_an_error_comes_out_ends_the_rest_and_leaves_the_lanes_usable(where: str) -> None:
    started: list[int] = []

    def prepare(item: int) -> Callable[[], int]:
        started.append(item)
        if item == 5 and where == "prepare":
            raise ZeroDivisionError
        return lambda: 1 // (item - 5) if where == "run" else item

    workers = Workers(2, 1)
    with pytest.raises(ZeroDivisionError):
        workers.map(prepare, range(1_000))
    assert len(started) < 1_000
    assert workers.map(lambda item: lambda: item, [1, 2, 3]) == [1, 2, 3]
    assert workers.map(prepare, []) == []


def test_every_lane_has_its_own_number_of_threads_and_the_caller_keeps_its_own() -> None:
    before = torch.get_num_threads()
    workers = Workers(2, 1)
    torch.set_num_threads(3)
    try:
        assert workers.map(lambda _: torch.get_num_threads, range(2)) == [1, 1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
