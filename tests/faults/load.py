"""A steady load on one endpoint, within what its scorers can read, and the outcome of each request."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from statistics import median
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

DOCUMENTS = [
    f"The tide table of harbour {n} lists high water at {n} " + "and low water later " * 30 for n in range(10)
]
BODY: dict[str, Any] = {"query": "when is high tide", "documents": DOCUMENTS}

MAX_PER_S = float(os.environ.get("RERANKER_FAULTS_PER_S", "5"))
_MEASURED_REQUESTS = 5


class Answer(NamedTuple):
    """sent_s: monotonic clock. outcome: a status code, or the class name of httpx's error. order: the ranking."""

    sent_s: float
    took_s: float
    outcome: int | str
    order: tuple[int, ...] = ()
    text: str = ""


class Load:
    """Sends per_s requests a second, on schedule whether or not earlier ones were answered (an open loop).

    A context manager: it sends inside the block, and waits for outstanding answers at its end.
    """

    def __init__(self, url: str, per_s: float, body: dict[str, Any] = BODY, timeout_s: float = 120) -> None:
        self.per_s = per_s
        self._url, self._body, self._timeout_s = url, body, timeout_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send_all()))
        self.answers: list[Answer] = []

    @classmethod
    def at_half_capacity(cls, url: str, scorers: int = 1, body: dict[str, Any] = BODY) -> Self:
        """Half of the requests that the scorers can answer, at most MAX_PER_S. scorers: how many the fault leaves.

        Requests sent one after another use one scorer at a time: their median time gives the capacity of one.
        """
        took_s = []
        with httpx.Client(base_url=url, timeout=60) as client:
            client.post("/v2/rerank", json=body).raise_for_status()  # warm up
            for _ in range(_MEASURED_REQUESTS):
                started = time.monotonic()
                client.post("/v2/rerank", json=body).raise_for_status()
                took_s.append(time.monotonic() - started)
        return cls(url, min(MAX_PER_S, 0.5 * scorers / median(took_s)), body)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def failed(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.outcome != 200]

    @property
    def longest_s(self) -> float:
        return max((answer.took_s for answer in self.answers), default=0.0)

    @property
    def orders(self) -> set[tuple[int, ...]]:
        """The distinct rankings among the answers; there should be only one."""
        return {answer.order for answer in self.answers if answer.outcome == 200}

    def wait_for(self, more: int, timeout_s: float = 120) -> None:
        """Returns after this many more answers. Raises TimeoutError."""
        wanted, deadline = len(self.answers) + more, time.monotonic() + timeout_s
        while len(self.answers) < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{wanted - len(self.answers)} of {more} answers are missing after {timeout_s} s")
            time.sleep(0.05)

    async def _send_all(self) -> None:
        limits = httpx.Limits(max_connections=1_000, max_keepalive_connections=20)
        async with httpx.AsyncClient(timeout=self._timeout_s, limits=limits) as client, asyncio.TaskGroup() as group:
            due_s = time.monotonic()
            while not self._stop.is_set():
                group.create_task(self._send(client))
                due_s += 1 / self.per_s
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def _send(self, client: httpx.AsyncClient) -> None:
        sent_s = time.monotonic()
        try:
            response = await client.post(f"{self._url}/v2/rerank", json=self._body)
        except httpx.HTTPError as error:
            self.answers.append(Answer(sent_s, time.monotonic() - sent_s, type(error).__name__, text=str(error)))
            return
        took_s = time.monotonic() - sent_s
        order = tuple(one["index"] for one in response.json()["results"]) if response.status_code == 200 else ()
        self.answers.append(Answer(sent_s, took_s, response.status_code, order, response.text[:200]))
