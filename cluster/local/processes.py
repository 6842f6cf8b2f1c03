"""Processes known by their session: all that one `ray start` has started, however deep, and nothing else.

Ray renames its workers and sets some of them aside in process groups of their own, but nothing in it opens a new
session. Linux only: it reads /proc.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from reranker.settings import Settings


class Session(Settings):
    """Its leader's pid, and when that was started, in clock ticks since boot: a pid alone may come again."""

    pid: int
    started: int


class _Stat(NamedTuple):
    is_zombie: bool
    session: int
    started: int


def start(command: Sequence[str | Path], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C reaches us alone, and its end is ours to order."""
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603  (our own command)
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )


def session_of(process: subprocess.Popen[bytes]) -> Session:
    stat = _stat(process.pid)
    return Session(pid=process.pid, started=stat.started if stat else 0)


def tail(log: Path, lines: int = 15) -> str:
    """The end of what a process has printed, for an error's text."""
    return "its log ends:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def leads(session: Session) -> bool:
    """Whether its leader still runs."""
    return session.pid in members(session)


def members(session: Session) -> list[int]:
    """Pids of what runs in it, the leader among them."""
    leader = _stat(session.pid)
    if leader and leader.started != session.started:
        return []  # another process has that pid now, so nothing of ours is left
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
    stats = ((pid, _stat(pid)) for pid in pids)
    return [pid for pid, stat in stats if stat and stat.session == session.pid and not stat.is_zombie]


def kill(sessions: Sequence[Session]) -> int:
    """At once, as a power cut does, whatever they start meanwhile. Returns how many processes it was."""
    killed: set[int] = set()
    while alive := [pid for session in sessions for pid in members(session)]:
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed.update(alive)
        time.sleep(0.05)
    return len(killed)


def descendants(root: int) -> set[int]:
    """Process ids of `root` and all below it; empty when it has ended."""
    try:
        return {root, *(child.pid for child in psutil.Process(root).children(recursive=True))}
    except psutil.NoSuchProcess:
        return set()


def anonymous_bytes(pid: int) -> int:
    """Memory that a process has for itself: neither files that it maps nor shared memory. Raises psutil.Error."""
    memory = psutil.Process(pid).memory_info()
    return int(memory.rss - memory.shared)


def _stat(pid: int) -> _Stat | None:
    """None when it has ended. Source: proc_pid_stat(5); the command may hold spaces and brackets."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return _Stat(fields[0] in "ZX", int(fields[3]), int(fields[19]))
