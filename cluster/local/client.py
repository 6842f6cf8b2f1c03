"""Clients of a graph on this machine; one keeps sending small requests in the background and counts the failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx

BODY = {
    "query": "when is high tide",
    "documents": ["Bread rises because of yeast.", "The tide table lists high water for each harbour."],
}
_PAUSE_S = 0.1
_TIMEOUT_S = 110
_READY_TIMEOUT_S = 10


def client_of(url: str, timeout_s: float) -> httpx.Client:
    """Past a proxy that the environment names, which does not reach this machine."""
    return httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)


def is_ready(url: str) -> bool:
    """Whether a pair goes through the whole graph."""
    with client_of(url, _READY_TIMEOUT_S) as client, suppress(httpx.HTTPError):
        return client.get("/ready").status_code == 200
    return False


class RequestStats:
    """Results so far. failures: one line per failed request."""

    def __init__(self) -> None:
        self.count = 0
        self.failures: list[str] = []
        self.slowest_s = 0.0

    def send(self, client: httpx.Client) -> None:
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
def background_requests(url: str) -> Iterator[RequestStats]:
    """Send two documents about ten times a second, one request at a time; waits for the last response on exit."""
    stats, stop = RequestStats(), threading.Event()

    def send_until_stopped() -> None:
        with client_of(url, _TIMEOUT_S) as client:
            while not stop.wait(_PAUSE_S):
                stats.send(client)

    thread = threading.Thread(target=send_until_stopped)
    thread.start()
    try:
        yield stats
    finally:
        stop.set()
        thread.join()
