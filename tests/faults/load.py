"""A steady load on one endpoint, and what became of each of its requests."""

from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

DOCUMENTS = [
    f"The tide table of harbour {n} lists high water at {n} " + "and low water later " * 30 for n in range(10)
]
BODY: dict[str, Any] = {"query": "when is high tide", "documents": DOCUMENTS}


class Answer(NamedTuple):
    """sent_s: on the monotonic clock. outcome: a status code, or the class of httpx's error. order: the ranking."""

    sent_s: float
    took_s: float
    outcome: int | str
    order: tuple[int, ...] = ()
    text: str = ""


class Load:
    """So many requests a second, each in time whether or not those before it have their answers.

    A context: it sends from entering to leaving, then waits for what is under way.
    """

    def __init__(self, url: str, per_s: float, body: dict[str, Any] = BODY, timeout_s: float = 120) -> None:
        self._url, self._per_s, self._body, self._timeout_s = url, per_s, body, timeout_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send_all()))
        self.answers: list[Answer] = []

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
        """The different rankings that were given; one, where all is well."""
        return {answer.order for answer in self.answers if answer.outcome == 200}

    def wait_for(self, more: int, timeout_s: float = 120) -> None:
        """Returns when so many more answers are there. Raises TimeoutError."""
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
                due_s += 1 / self._per_s
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
