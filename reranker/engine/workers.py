"""Runs forward passes in parallel on a CPU, one worker thread per pass.

Cores that share one pass wait for each other after every operation, so other load on one core slows all of them.
Cores with passes of their own do not wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """count: passes in parallel. threads: torch threads of each pass."""

    def __init__(self, count: int, threads: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count, "worker")
        caller_threads = torch.get_num_threads()
        all_started = threading.Barrier(count)

        def start(_: int) -> None:
            torch.set_num_threads(threads)
            torch.get_num_threads()  # torch keeps the number per thread only after this call
            all_started.wait()

        list(self._pool.map(start, range(count)))
        torch.set_num_threads(caller_threads)

    def map(self, prepare: Callable[[Item], Callable[[], Result]], items: Sequence[Item]) -> list[Result]:
        """Results of the passes over the items, in order.

        `prepare` is called for one item at a time and in order, so it may keep state; the passes it returns run in
        parallel. If one raises, the remaining items are not run, and its error is raised once all workers are done.
        """
        results: dict[int, Result] = {}
        waiting = iter(enumerate(items))
        prepare_lock = threading.Lock()
        stopped = threading.Event()

        def worker() -> None:
            try:
                while not stopped.is_set():
                    with prepare_lock:
                        upcoming = next(waiting, None)
                        if upcoming is None:
                            return
                        number, item = upcoming
                        run = prepare(item)
                    results[number] = run()
            except BaseException:
                stopped.set()
                raise

        running = [self._pool.submit(worker) for _ in range(min(self.count, len(items)))]
        errors = [error for future in running if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        return [results[number] for number in range(len(items))]
