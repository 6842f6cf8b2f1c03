"""Warns when Ray's own ports on this machine can be reached from others and ask for no token.

Whoever reaches them runs any code on every node. Knows nothing of Serve: processes and their sockets.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import psutil

log = logging.getLogger("ray.serve")

_PROGRAMS = ("gcs_server", "raylet", "ray-dashboard")  # beginnings of the names of Ray's processes


class Listener(NamedTuple):
    """A socket that waits for connections. program: the name of its process, '' if that is another user's."""

    program: str
    address: str
    port: int


def listeners() -> list[Listener]:
    """Of this machine. Empty where the system does not say."""
    try:
        return [
            Listener(_name_of(one.pid), one.laddr.ip, one.laddr.port)
            for one in psutil.net_connections("tcp")
            if one.laddr and one.status == psutil.CONN_LISTEN
        ]
    except (psutil.Error, OSError):
        return []


def warn_of_open_ports(
    find: Callable[[], Iterable[Listener]] = listeners, environment: Mapping[str, str] = os.environ
) -> None:
    """One line in the log, if any is open. Call it once, when a replica starts."""
    if environment.get("RAY_AUTH_MODE") == "token":
        return
    found = sorted({f"{one.program} {one.port}" for one in find() if _is_open(one)})
    if found:
        log.warning(
            "Ray listens beyond loopback without a token (%s): whoever reaches these ports can run code on every "
            "node. Set RAY_AUTH_MODE=token, or close them in the network",
            ", ".join(found),
        )


def _is_open(listener: Listener) -> bool:
    return listener.program.startswith(_PROGRAMS) and not ipaddress.ip_address(listener.address).is_loopback


def _name_of(pid: int | None) -> str:
    try:
        return psutil.Process(pid).name() if pid else ""
    except psutil.Error:
        return ""
