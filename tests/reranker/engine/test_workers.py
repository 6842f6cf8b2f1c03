"""Workers: passes in parallel, results in order, preparation one at a time, errors raised."""

import threading
from collections.abc import Callable

import pytest
import torch

from reranker.engine.workers import Workers


def test_workers_run_passes_in_parallel_and_keep_the_order_of_results() -> None:
    all_run = threading.Barrier(3)

    def prepare(item: int) -> Callable[[], int]:
        def run() -> int:
            all_run.wait(timeout=30)  # raises unless three passes run at once
            return item * item

        return run

    assert Workers(3, 1).map(prepare, range(9)) == [item * item for item in range(9)]


def test_workers_prepare_items_in_order_and_one_at_a_time() -> None:
    prepared: list[int] = []
    preparing = threading.Lock()

    def prepare(item: int) -> Callable[[], int]:
        assert preparing.acquire(blocking=False)
        prepared.append(item)
        preparing.release()
        return lambda: item

    Workers(4, 1).map(prepare, range(200))
    assert prepared == list(range(200))


@pytest.mark.parametrize("where", ["prepare", "run"])
def test_error_in_a_pass_is_raised_stops_the_others_and_leaves_the_workers_usable(where: str) -> None:
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


def test_workers_set_their_own_torch_threads_and_not_the_callers() -> None:
    before = torch.get_num_threads()
    workers = Workers(2, 1)
    torch.set_num_threads(3)
    try:
        assert workers.map(lambda _: torch.get_num_threads, range(2)) == [1, 1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
