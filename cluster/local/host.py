"""What this machine needs before a cluster can start on it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import psutil

from reranker.errors import Unavailable

_HEAD_BYTES, _GPU_NODE_BYTES = 2_000_000_000, 900_000_000


def check_host(gpus: int, port: int) -> None:
    """Raises Unavailable, before anything is started, when this machine cannot run the cluster."""
    if sys.platform != "linux":
        raise Unavailable("several nodes on one machine need Linux, where every 127.0.0.N is a separate address")
    for name in ("ray", "serve"):
        if not Path(sys.executable).with_name(name).exists():
            raise Unavailable(f"no `{name}` beside {sys.executable}: install this project with `make .venv`")
    needed, available = _HEAD_BYTES + gpus * _GPU_NODE_BYTES, psutil.virtual_memory().available
    if available < needed:
        raise Unavailable(
            f"{gpus} GPU nodes need about {needed / 1e9:.1f} GB of memory and {available / 1e9:.1f} GB are free: "
            "use fewer --gpus"
        )
    check_port(port)


def check_port(port: int) -> None:
    """Raises Unavailable when no server can listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Unavailable(f"port {port} is not available ({error.strerror}): choose another --port") from None


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
    return port
