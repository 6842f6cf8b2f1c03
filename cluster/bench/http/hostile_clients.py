"""Clients that send bodies made to hurt a server, in a process of their own, until they are told to stop."""

from __future__ import annotations

import contextlib
import gzip
import json
import multiprocessing
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import httpx

from cluster.bench.http.targets import Target

_MIB = 2**20
_CLIENTS = 2  # that send at the same time
_HALF_SENT = 200
_PAUSE_S = 0.05  # after an answer: a client that sends without a pause measures the network

_Body = tuple[bytes, Mapping[str, str]]


def _empty(document: str) -> str:
    count = 16 * _MIB // (len(document) + 1)
    return f'{{"query":"a","documents":[{",".join([document] * count)}]}}'


def _long() -> str:
    return json.dumps({"query": "tide", "documents": ["high tide is at noon and at midnight " * (4 * _MIB // 37)]})


def _bodies(kind: str) -> _Body:
    """The body that clients of this kind send, and headers beside its type."""
    match kind:
        case "empty texts":
            return _empty('""').encode(), {}
        case "empty objects":
            return _empty('{"text":""}').encode(), {}
        case "long document":
            return _long().encode(), {}
        case _:
            return gzip.compress(_empty('""').encode() * 8), {"content-encoding": "gzip"}


KINDS: Mapping[str, str] = MappingProxyType(
    {
        "empty texts": f'{_CLIENTS} clients send 16 MiB of ""',
        "empty objects": f'{_CLIENTS} clients send 16 MiB of {{"text":""}}',
        "long document": f"{_CLIENTS} clients send one document of 4 MiB",
        "gzip bomb": f"{_CLIENTS} clients send gzip that unpacks to 128 MiB",
        "half-sent bodies": f"{_HALF_SENT} connections send half a body and wait",
    }
)


@contextlib.contextmanager
def hostile(target: Target, kind: str, timeout_s: float) -> Iterator[Counter[str]]:
    """Within, such clients send to the target. Yields a counter of what they were answered, filled at the end."""
    context = multiprocessing.get_context("spawn")
    stop, answers = context.Event(), context.Queue()
    process = context.Process(
        target=_run, args=(target.url, target.dialect.path, kind, timeout_s, stop, answers), daemon=True
    )
    process.start()
    answers.get(timeout=60)  # it has begun
    counted = Counter[str]()
    try:
        yield counted
    finally:
        stop.set()
        with contextlib.suppress(Exception):
            counted.update(answers.get(timeout=timeout_s + 10))
        process.join(5)
        process.kill()


def _run(url: str, path: str, kind: str, timeout_s: float, stop: Any, answers: Any) -> None:
    if kind == "half-sent bodies":
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(_half_sent(url, path)) for _ in range(_HALF_SENT)]
            answers.put(None)
            stop.wait()
            answers.put(Counter({"unanswered": len(connections)}))
        return
    body, headers = _bodies(kind)
    counted = Counter[str]()

    def send() -> None:
        with httpx.Client(timeout=timeout_s, trust_env=False) as client:
            while not stop.is_set():
                try:
                    response = client.post(
                        url + path, content=body, headers={"content-type": "application/json", **headers}
                    )
                    counted[str(response.status_code)] += 1
                except httpx.HTTPError as error:
                    counted[type(error).__name__] += 1
                time.sleep(_PAUSE_S)

    threads = [threading.Thread(target=send, daemon=True) for _ in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    answers.put(None)
    stop.wait()
    for thread in threads:
        thread.join(timeout_s)
    answers.put(counted)


def _half_sent(url: str, path: str) -> socket.socket:
    """A connection on which half of the announced MiB was sent."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=10)
    head = f"POST {path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
    connection.sendall(
        head.encode() + f"content-length: {_MIB}\r\n\r\n".encode() + b'{"query":"' + b"a" * (_MIB // 2)
    )
    return connection
