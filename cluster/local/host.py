"""What this machine must have before a cluster is started on it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from reranker.errors import Unavailable

_HEAD_BYTES, _GPU_BYTES = 2_000_000_000, 900_000_000


def refuse_unfit(gpus: int, port: int) -> None:
    """Raises Unavailable where this machine cannot run it, before anything is started."""
    if sys.platform != "linux":
        raise Unavailable("several nodes on one machine need Linux, where every 127.0.0.N is an address of its own")
    for name in ("ray", "serve"):
        if not Path(sys.executable).with_name(name).exists():
            raise Unavailable(f"no `{name}` beside {sys.executable}: install this project with `make .venv`")
    needed, available = _HEAD_BYTES + gpus * _GPU_BYTES, _available_bytes()
    if available < needed:
        raise Unavailable(
            f"{gpus} gpus need about {needed / 1e9:.1f} GB of memory and {available / 1e9:.1f} GB are free: "
            "use fewer --gpus"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Unavailable(f"port {port} cannot be had ({error.strerror}): choose another --port") from None


def _available_bytes() -> int:
    """Source: proc_meminfo(5)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
    return port
