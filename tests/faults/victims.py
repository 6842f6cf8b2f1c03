"""Finds processes of this test's Ray cluster by the session of their node, and kills or freezes them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from cluster.local import processes
from cluster.local.processes import Session

CONTROLLER = "ray::ServeController"
_PROXY = "ray::ProxyActor"


def named(sessions: Sequence[Session], title: str) -> list[int]:
    """Pids of the processes whose title starts with this; Ray appends the running method."""
    return [pid for session in sessions for pid in processes.members(session) if _title(pid).startswith(title)]


def proxies(sessions: Sequence[Session]) -> list[int]:
    """Pids of what accepts clients' connections: HAProxy where Serve runs it, else Serve's own proxies.

    Beside HAProxy, Serve keeps a proxy of its own for requests that no gateway can take.
    """
    everything = [pid for session in sessions for pid in processes.members(session)]
    haproxy = [pid for pid in everything if Path(_title(pid).partition("\0")[0]).name == "haproxy"]
    return haproxy or named(sessions, _PROXY)


def kill(pid: int) -> None:
    """As the kernel does when it runs out of memory."""
    os.kill(pid, signal.SIGKILL)


def freeze(pid: int) -> None:
    """The process keeps its memory and connections, and does nothing more."""
    os.kill(pid, signal.SIGSTOP)


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
