"""Start processes in a session of their own, find every process of a session, and kill a session whole.

Ray renames its workers and moves some of them to other process groups, but never opens a new session: the session
of a `ray start` holds everything that it started, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from reranker.settings import Settings

_START_TOLERANCE_S = 2.0


class Session(Settings):
    """The leader's pid, and its start in seconds since boot, because the system may reuse the pid."""

    pid: int
    started_s: float


def start(command: Sequence[str | Path], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a command in a new session, so that Ctrl-C reaches this process alone, which then stops the command."""
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603  (our own command)
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def session_of(process: subprocess.Popen[bytes]) -> Session:
    """The session that `start` opened for this process."""
    return Session(pid=process.pid, started_s=_started_s(process.pid) or 0.0)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, worded for the end of an error message."""
    return "its log ends:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def is_leader_alive(session: Session) -> bool:
    return session.pid in members(session)


def members(session: Session) -> list[int]:
    """Pids of the session's live processes, the leader included; zombies are left out."""
    started_s = _started_s(session.pid)
    if started_s is not None and abs(started_s - session.started_s) > _START_TOLERANCE_S:
        return []  # the pid was reused, which the system does only when the whole session is gone
    return [pid for pid in psutil.pids() if _runs_in(pid, session.pid)]


def kill(sessions: Sequence[Session]) -> int:
    """Kill every process of the sessions, including those started meanwhile. Returns how many were killed."""
    killed: set[int] = set()
    while alive := [pid for session in sessions for pid in members(session)]:
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed.update(alive)
        time.sleep(0.05)
    return len(killed)


def descendants(root: int) -> set[int]:
    """Process ids of `root` and all its descendants; empty when it has exited."""
    try:
        return {root, *(child.pid for child in psutil.Process(root).children(recursive=True))}
    except psutil.NoSuchProcess:
        return set()


def anonymous_bytes(pid: int) -> int:
    """Private memory of a process, without mapped files and shared memory. Linux only. Raises psutil.Error."""
    memory = psutil.Process(pid).memory_info()
    return int(memory.rss - memory.shared)


def _started_s(pid: int) -> float | None:
    """When the process started, in seconds since boot; None when it has exited.

    Setting the clock changes psutil's creation time and boot time alike, but not their difference.
    """
    try:
        return psutil.Process(pid).create_time() - psutil.boot_time()
    except psutil.NoSuchProcess:
        return None


def _runs_in(pid: int, session_id: int) -> bool:
    try:
        return os.getsid(pid) == session_id and psutil.Process(pid).status() not in (
            psutil.STATUS_ZOMBIE,
            psutil.STATUS_DEAD,
        )
    except (OSError, psutil.Error):  # it has just exited, or belongs to another user
        return False
