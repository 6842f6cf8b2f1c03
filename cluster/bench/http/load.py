"""Clients of one server. A closed loop waits for each answer; an open one starts requests when they are meant to.

httpx costs about a millisecond of CPU a request, which is part of every latency here. Clients live in the process of
the bench, never in the server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from cluster.bench.http.arrivals import Arrival
from cluster.bench.http.peers import Target
from cluster.bench.http.records import NO_ANSWER, TOO_MANY, Row, read_retry_after

# httpx looks through all connections of a pool at every request: many small pools keep that short under overload.
_POOLS = 16
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Shot:
    """A request that is ready to be sent. body: None is a GET of `path`. key: whose it is, None says nothing."""

    documents: int
    body: bytes | None
    path: str
    key: str | None = None


class Clients:
    """Sends shots to one target and keeps the time. Made and used within one event loop."""

    def __init__(self, target: Target, timeout_s: float) -> None:
        # One context for all pools: to make one takes longer than a request.
        verify = ssl.create_default_context() if target.url.startswith("https") else False
        self._pools = [
            httpx.AsyncClient(
                base_url=target.url,
                timeout=timeout_s,
                verify=verify,
                trust_env=False,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            )
            for _ in range(_POOLS)
        ]
        self._started = time.perf_counter()
        self._sent = 0

    def now(self) -> float:
        """Seconds since these clients were made."""
        return time.perf_counter() - self._started

    async def send(self, shot: Shot, intended_s: float | None = None) -> Row:
        """Never raises for what the server does. intended_s: None means now."""
        pool = self._pools[self._sent % _POOLS]
        self._sent += 1
        sent_s = self.now()
        start_s = sent_s if intended_s is None else intended_s
        try:
            if shot.body is None:
                response = await pool.get(shot.path)
            else:
                key = {"authorization": f"Bearer {shot.key}"} if shot.key is not None else {}
                response = await pool.post(shot.path, content=shot.body, headers=_JSON | key)
        except (httpx.HTTPError, OSError) as error:
            return Row(start_s, sent_s, self.now(), shot.documents, NO_ANSWER, problem=type(error).__name__)
        told = read_retry_after(response.headers) if response.status_code == TOO_MANY else None
        return Row(start_s, sent_s, self.now(), shot.documents, response.status_code, told)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in self._pools:
            await pool.aclose()


async def open_loop(clients: Clients, arrivals: Sequence[Arrival], shots: Iterable[Shot]) -> list[Row]:
    """Each request starts when it is meant to, whatever has become of those before; returns when all have ended."""
    async with asyncio.TaskGroup() as group:
        tasks = []
        for arrival, shot in zip(arrivals, shots, strict=False):
            await asyncio.sleep(arrival.at_s - clients.now())
            tasks.append(group.create_task(clients.send(shot, arrival.at_s)))
    return [task.result() for task in tasks]


async def closed_loop(clients: Clients, count: int, shots: Iterator[Shot], goes_on: Callable[[], bool]) -> list[Row]:
    """`count` clients, each of which sends its next shot when its last was answered, until `goes_on` says no."""
    rows: list[Row] = []

    async def client() -> None:
        while goes_on() and (shot := next(shots, None)) is not None:
            rows.append(await clients.send(shot))

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(client())
    return rows


@contextlib.contextmanager
def many_files() -> Iterator[None]:
    """Overload may hold thousands of connections: as many open files as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
