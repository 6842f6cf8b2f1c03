"""Forward passes side by side on a CPU, each in a thread of its own.

Cores that share a pass wait for each other after every operation, so what else the machine does to one of them stops
them all. Cores with passes of their own wait for nobody.
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
    """count: passes side by side. threads: torch's, of each."""

    def __init__(self, count: int, threads: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count, "worker")
        callers = torch.get_num_threads()
        all_started = threading.Barrier(count)

        def start(_: int) -> None:
            torch.set_num_threads(threads)
            torch.get_num_threads()  # from now on this thread's number is its own, whatever others set
            all_started.wait()

        list(self._pool.map(start, range(count)))
        torch.set_num_threads(callers)

    def map(self, prepare: Callable[[Item], Callable[[], Result]], items: Sequence[Item]) -> list[Result]:
        """What the passes over the items return, in order.

        `prepare` is called for one item at a time and in their order, so it may keep state; the pass it returns runs
        beside others. Raises what the first of them raises, when those beside it are done; the rest do not run.
        """
        results: dict[int, Result] = {}
        waiting = iter(enumerate(items))
        one_at_a_time = threading.Lock()
        stopped = threading.Event()

        def worker() -> None:
            try:
                while not stopped.is_set():
                    with one_at_a_time:
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
