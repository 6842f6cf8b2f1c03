"""A small HTTP server in a thread that answers like a reranker, optionally late, for load tests."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Endpoint:
    """slots: max concurrent requests; further ones get a 429. together: answers none before this many arrived."""

    def __init__(self, slots: int = 1_000, together: int = 1, seconds: float = 0.0) -> None:
        self._slots, self._together, self._seconds = slots, together, seconds
        self._inside, self.max_inside = 0, 0
        self._all_here = asyncio.Event()
        self.bodies: list[dict[str, object]] = []
        self.keys: list[str | None] = []
        self.url = ""

    async def rerank(self, request: Request) -> Response:
        body = await request.json()
        if self._inside >= self._slots:
            headers = {"retry-after": "1", "retry-after-ms": "250"}
            return JSONResponse({"message": "too much work is queued"}, 429, headers)
        self.bodies.append(body)
        self.keys.append(request.headers.get("authorization"))
        self._inside += 1
        self.max_inside = max(self.max_inside, self._inside)
        if len(self.bodies) >= self._together:
            self._all_here.set()
        await self._all_here.wait()
        await asyncio.sleep(self._seconds)
        self._inside -= 1
        documents = body.get("documents", [])
        return JSONResponse({"results": [{"index": n, "relevance_score": 0.5} for n in range(len(documents))]})

    async def broken(self, request: Request) -> Response:
        return JSONResponse({"error": {"message": "the model failed"}}, 503)

    async def other(self, request: Request) -> Response:
        return JSONResponse({"hello": "world"})

    @contextlib.contextmanager
    def serving(self) -> Iterator["Endpoint"]:
        routes = [Route("/v2/rerank", self.rerank, methods=["POST"])]
        routes += [Route("/rerank", self.broken, methods=["POST"]), Route("/v1/rerank", self.other, methods=["POST"])]
        routes += [Route("/v1/models", self.other), Route("/health", self.other)]
        config = uvicorn.Config(
            Starlette(routes=routes),
            port=0,
            lifespan="off",
            ws="none",
            log_level="critical",
            timeout_graceful_shutdown=5,  # a request that waits for others that never arrive must not block the tests
        )
        server = uvicorn.Server(config)
        socket = config.bind_socket()
        socket.listen(256)  # clients may connect before the thread runs
        self.url = f"http://127.0.0.1:{socket.getsockname()[1]}"
        thread = threading.Thread(target=server.run, args=([socket],))
        thread.start()
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join()
            socket.close()
