"""Who is to die: processes of this test's own Ray, known by the session of the node that started them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from cluster.local import processes
from cluster.local.processes import Session

CONTROLLER = "ray::ServeController"
PROXY = "ray::ProxyActor"


def named(sessions: Sequence[Session], title: str) -> list[int]:
    """Pids of the processes whose title starts so; Ray adds the method that runs."""
    return [pid for session in sessions for pid in processes.members(session) if _title(pid).startswith(title)]


def kill(pid: int) -> None:
    """As the kernel does when memory runs out."""
    os.kill(pid, signal.SIGKILL)


def freeze(pid: int) -> None:
    """It keeps its memory and its connections, and does nothing any more."""
    os.kill(pid, signal.SIGSTOP)


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
