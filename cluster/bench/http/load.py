"""HTTP clients of one server, as a closed loop or an open loop.

In a closed loop each client waits for its answer before it sends again; in an open loop requests start at their
intended times, whatever happened to earlier ones. httpx costs about a millisecond of CPU per request, which is part
of every latency here. Clients run in the benchmark's process, never in the server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import httpx

from cluster.bench.http.arrivals import Arrival
from cluster.bench.http.records import NO_ANSWER, TOO_MANY, Row, read_retry_after
from cluster.bench.http.targets import Target, bearer

# httpx scans all connections of a pool for every request, so many small pools are faster under overload.
_POOLS = 16
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request ready to be sent. body: None means GET. key: API key, or None."""

    documents: int
    body: bytes | None
    path: str
    key: str | None = None


class Clients:
    """Sends requests to one target and measures them. Must be created and used within one event loop."""

    def __init__(self, target: Target, timeout_s: float) -> None:
        # All pools share one context: creating one takes longer than a request.
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
        """Seconds since these clients were created."""
        return time.perf_counter() - self._started

    async def send(self, request: PreparedRequest, intended_s: float | None = None) -> Row:
        """The outcome; failures of the server do not raise. intended_s: None means now."""
        pool = self._pools[self._sent % _POOLS]
        self._sent += 1
        sent_s = self.now()
        start_s = sent_s if intended_s is None else intended_s
        try:
            if request.body is None:
                response = await pool.get(request.path)
            else:
                headers = _JSON | bearer(request.key)
                response = await pool.post(request.path, content=request.body, headers=headers)
        except (httpx.HTTPError, OSError) as error:
            return Row(start_s, sent_s, self.now(), request.documents, NO_ANSWER, problem=type(error).__name__)
        wait_s = read_retry_after(response.headers) if response.status_code == TOO_MANY else None
        return Row(start_s, sent_s, self.now(), request.documents, response.status_code, wait_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for pool in self._pools:
            await pool.aclose()


async def open_loop(clients: Clients, arrivals: Sequence[Arrival], requests: Iterable[PreparedRequest]) -> list[Row]:
    """Start each request at its intended time; returns when all have finished."""
    async with asyncio.TaskGroup() as group:
        tasks = []
        for arrival, request in zip(arrivals, requests, strict=False):
            await asyncio.sleep(arrival.at_s - clients.now())
            tasks.append(group.create_task(clients.send(request, arrival.at_s)))
    return [task.result() for task in tasks]


async def closed_loop(
    clients: Clients, count: int, requests: Iterator[PreparedRequest], keep_going: Callable[[], bool]
) -> list[Row]:
    """`count` clients that each send the next request when their last one was answered, while `keep_going()`."""
    rows: list[Row] = []

    async def client() -> None:
        while keep_going() and (request := next(requests, None)) is not None:
            rows.append(await clients.send(request))

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(client())
    return rows


@contextlib.contextmanager
def max_open_files() -> Iterator[None]:
    """Raise the limit of open files to its maximum, because overload may hold thousands of connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
