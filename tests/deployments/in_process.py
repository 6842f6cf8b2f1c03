"""The whole graph with the embedded model in one process, without Ray: real parts on fake handles, behind uvicorn.

python -m tests.deployments.in_process [PORT] serves it on 127.0.0.1 until it is stopped.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn
from ray.serve.handle import DeploymentHandle

from deployments.capacity import Capacity
from deployments.gateway import Gateway
from deployments.http.routes import build_http
from deployments.scorer import Scorer
from deployments.settings import AppSettings
from deployments.tokenizer import Tokenizer
from reranker.settings import ScorerSettings
from tests.deployments import fleets
from tests.deployments.handles import FakeHandle

HOST = "127.0.0.1"


async def serve(listener: socket.socket, stop: asyncio.Event | None = None) -> None:
    """Serve on a bound socket until `stop` is set, or a signal comes."""
    settings = AppSettings()
    scorer = Scorer(settings.checkpoint, ScorerSettings(threads=1))
    scorer_handle, tokenizer_handle = (
        cast(DeploymentHandle[Any], FakeHandle(type(part).__name__, part))
        for part in (scorer, Tokenizer(settings.checkpoint))
    )
    capacity = Capacity(scorer_handle, fleets.context, fleets.status)
    gateway = Gateway(settings, tokenizer_handle, scorer_handle, capacity)
    server = uvicorn.Server(
        uvicorn.Config(build_http(gateway, settings.limits), log_level="warning", lifespan="off", ws="none")
    )
    running = asyncio.create_task(server.serve([listener]))
    if stop is not None:
        await stop.wait()
        server.should_exit = True
    await running


def bound(port: int = 0) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    listener.listen()  # connections wait until the server accepts them
    return listener


@contextmanager
def running_server() -> Iterator[str]:
    """The address of a server in a thread of this process."""
    listener = bound()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=[serve(listener, stop)])
    thread.start()
    try:
        yield f"http://{HOST}:{listener.getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


if __name__ == "__main__":
    asyncio.run(serve(bound(int(sys.argv[1]) if len(sys.argv) > 1 else 0)))
