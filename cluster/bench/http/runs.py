"""One run of load on one target, in an event loop and with connections of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, repeat
from typing import Any

from cluster.bench.http.arrivals import Arrival
from cluster.bench.http.load import Clients, PreparedRequest, closed_loop, max_open_files, open_loop
from cluster.bench.http.records import Row
from cluster.bench.http.targets import Target
from cluster.bench.http.texts import Texts

_BACKGROUND_LEAD_S = 0.5
_ANY: Iterable[int | None] = repeat(None)


@dataclass(frozen=True, slots=True)
class Run:
    """rows: the measured requests. client_cpu_s: CPU seconds of this process per request."""

    rows: list[Row]
    client_cpu_s: float


def run_sequential(target: Target, texts: Texts, count: int, documents: int, timeout_s: float) -> Run:
    """One client sends `count` requests, one after the other."""
    return _closed(target, 1, prepared(target, texts, repeat(documents, count)), timeout_s)


def run_gets(target: Target, path: str, count: int, timeout_s: float) -> Run:
    """One client sends GET `path` `count` times."""
    return _closed(target, 1, repeat(PreparedRequest(0, None, path), count), timeout_s)


def run_clients(
    target: Target, texts: Texts, clients: int, sizes: Iterable[int], seconds: float, timeout_s: float
) -> Run:
    """Many clients send for `seconds`; requests sent by then are still awaited."""
    return _closed(target, clients, prepared(target, texts, sizes), timeout_s, seconds)


def run_arrivals(
    target: Target, texts: Texts, arrivals: Sequence[Arrival], timeout_s: float, senders: Iterable[int | None] = _ANY
) -> Run:
    """An open loop; returns when every request has finished. senders: as for `prepared`."""

    async def run() -> list[Row]:
        async with Clients(target, timeout_s) as clients:
            sizes = (arrival.documents for arrival in arrivals)
            return await open_loop(clients, arrivals, prepared(target, texts, sizes, senders))

    with max_open_files():
        return _timed(run)


def run_with_background(
    target: Target, texts: Texts, arrivals: Sequence[Arrival], large_clients: int, large: int, timeout_s: float
) -> tuple[Run, list[Row]]:
    """An open loop, and the rows of a closed loop of `large_clients` clients that send `large` documents meanwhile.

    The background starts earlier, and all arrivals are delayed by as much.
    """
    delayed = [Arrival(arrival.at_s + _BACKGROUND_LEAD_S, arrival.documents) for arrival in arrivals]
    background_rows: list[Row] = []

    async def run() -> list[Row]:
        small = prepared(target, texts, (arrival.documents for arrival in delayed))
        finished = asyncio.Event()
        async with Clients(target, timeout_s) as clients, asyncio.TaskGroup() as group:
            background = prepared(target, texts, repeat(large))
            task = group.create_task(closed_loop(clients, large_clients, background, lambda: not finished.is_set()))
            rows = await open_loop(clients, delayed, small)
            finished.set()
        background_rows.extend(task.result())
        return rows

    return _timed(run), background_rows


def in_rotation(clients: int) -> Iterable[int | None]:
    """Senders of requests that so many clients send in turn; 0 means that requests do not say who sends them."""
    return cycle(range(clients)) if clients else _ANY


def prepared(
    target: Target, texts: Texts, sizes: Iterable[int], senders: Iterable[int | None] = _ANY
) -> Iterator[PreparedRequest]:
    """Requests of these sizes. Documents are JSON already, so that adding a new query takes microseconds.

    senders: the number of each request's client, which decides its API key; None for one that does not say.
    """
    for size, sender in zip(sizes, senders, strict=False):
        body = target.body(texts.query(), texts.block(size).json)
        yield PreparedRequest(size, body, target.dialect.path, target.key(sender))


def _closed(
    target: Target, count: int, requests: Iterable[PreparedRequest], timeout_s: float, seconds: float = float("inf")
) -> Run:
    async def run() -> list[Row]:
        async with Clients(target, timeout_s) as clients:
            return await closed_loop(clients, count, iter(requests), lambda: clients.now() < seconds)

    return _timed(run)


def _timed(run: Callable[[], Coroutine[Any, Any, list[Row]]]) -> Run:
    before = time.process_time()
    rows = asyncio.run(run())
    return Run(rows, (time.process_time() - before) / max(1, len(rows)))
