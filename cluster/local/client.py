"""A light client that asks all the time, and counts what came back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

BODY = {
    "query": "when is high tide",
    "documents": ["Bread rises because of yeast.", "The tide table lists high water for each harbour."],
}
_PAUSE_S = 0.1
_TIMEOUT_S = 110


class Answers:
    """What the client has seen so far. failures: one line each."""

    def __init__(self) -> None:
        self.count = 0
        self.failures: list[str] = []
        self.slowest_s = 0.0

    def ask(self, client: httpx.Client) -> None:
        started = time.perf_counter()
        self.count += 1
        try:
            response = client.post("/v2/rerank", json=BODY)
            if response.status_code != 200:
                self.failures.append(f"{response.status_code}: {response.text[:200]}")
        except httpx.HTTPError as error:
            self.failures.append(f"{type(error).__name__}: {error}")
        self.slowest_s = max(self.slowest_s, time.perf_counter() - started)


@contextmanager
def asking(url: str) -> Iterator[Answers]:
    """Two documents ten times a second, one request after the other; the last is waited for."""
    answers, stop = Answers(), threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=_TIMEOUT_S) as client:
            while not stop.wait(_PAUSE_S):
                answers.ask(client)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()
