"""One run of load on one target: an event loop and connections of its own, and the rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from cluster.bench.http.arrivals import Arrival
from cluster.bench.http.load import Clients, Shot, closed_loop, many_files, open_loop
from cluster.bench.http.peers import Target
from cluster.bench.http.records import Row
from cluster.bench.http.texts import Texts

_HEAD_START_S = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """rows: of the requests that are measured. client_cpu_s: CPU time of this process, a request."""

    rows: list[Row]
    client_cpu_s: float


def run_some(target: Target, texts: Texts, count: int, documents: int, timeout_s: float) -> Run:
    """One client, `count` requests, one after the other."""
    return _closed(target, 1, shots(target, texts, repeat(documents, count)), timeout_s)


def run_gets(target: Target, path: str, count: int, timeout_s: float) -> Run:
    """One client, `count` times GET `path`: what the road costs as far as that."""
    return _closed(target, 1, repeat(Shot(0, None, path), count), timeout_s)


def run_clients(
    target: Target, texts: Texts, clients: int, sizes: Iterable[int], seconds: float, timeout_s: float
) -> Run:
    """Many clients for `seconds`; what has been asked by then is answered still."""
    return _closed(target, clients, shots(target, texts, sizes), timeout_s, seconds)


def run_arrivals(target: Target, texts: Texts, arrivals: Sequence[Arrival], timeout_s: float, keys: int = 0) -> Run:
    """An open loop. Returns when every request has ended. keys: as for `shots`."""

    async def run() -> list[Row]:
        async with Clients(target, timeout_s) as clients:
            sizes = (one.documents for one in arrivals)
            return await open_loop(clients, arrivals, shots(target, texts, sizes, keys))

    with many_files():
        return _timed(run)


def run_beside(
    target: Target, texts: Texts, arrivals: Sequence[Arrival], large_clients: int, large: int, timeout_s: float
) -> tuple[Run, list[Row]]:
    """An open loop beside clients that never stop sending `large` documents; the second list is of theirs.

    They get a head start, by which the arrivals are put off.
    """
    later = [Arrival(one.at_s + _HEAD_START_S, one.documents) for one in arrivals]
    beside: list[Row] = []

    async def run() -> list[Row]:
        small = shots(target, texts, (one.documents for one in later))
        over = asyncio.Event()
        async with Clients(target, timeout_s) as clients, asyncio.TaskGroup() as group:
            others = shots(target, texts, repeat(large))
            task = group.create_task(closed_loop(clients, large_clients, others, lambda: not over.is_set()))
            rows = await open_loop(clients, later, small)
            over.set()
        beside.extend(task.result())
        return rows

    return _timed(run), beside


def shots(target: Target, texts: Texts, sizes: Iterable[int], keys: int = 0) -> Iterator[Shot]:
    """Bodies: the documents are JSON already, and only a new query is put before them, which takes microseconds.

    keys: how many API keys send them in turns; 0 sends none.
    """
    for number, size in enumerate(sizes):
        key = f"bench-{number % keys}" if keys else None
        yield Shot(size, target.body(texts.query(), texts.block(size).json), target.dialect.path, key)


def _closed(
    target: Target, clients: int, some: Iterable[Shot], timeout_s: float, seconds: float = float("inf")
) -> Run:
    async def run() -> list[Row]:
        async with Clients(target, timeout_s) as senders:
            return await closed_loop(senders, clients, iter(some), lambda: senders.now() < seconds)

    return _timed(run)


def _timed(run: Callable[[], Coroutine[Any, Any, list[Row]]]) -> Run:
    before = time.process_time()
    rows = asyncio.run(run())
    return Run(rows, (time.process_time() - before) / max(1, len(rows)))
