"""A server that answers at once, in its own process: it shows what the client alone costs.

`python -m cluster.bench.http.client_baseline` runs it and prints its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, cast

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = (line.partition(b":") for line in head.lower().splitlines())
            await reader.readexactly(next((int(value) for name, _, value in lines if name == b"content-length"), 0))
            writer.write(_ANSWER)
            await writer.drain()
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


@contextlib.contextmanager
def baseline_server() -> Iterator[str]:
    """Yields the URL of a server that runs for the `with` block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cluster.bench.http.client_baseline"], stdout=subprocess.PIPE, text=True
    )
    try:
        yield f"http://127.0.0.1:{int(cast(IO[str], process.stdout).readline())}"
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    asyncio.run(main())
