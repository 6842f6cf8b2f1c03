"""The processes of a graph that runs here: what each does, its memory and its CPU time. Linux: it reads /proc.

Memory is what a process has for itself, anonymous pages, as for the batch job.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cluster.local import processes

_REPLICA = re.compile(r"ray::ServeReplica:[^:]+:(\w+)")
# The first that is found in a command names the process.
_OTHERS = (
    ("ray::ProxyActor", "proxy"),
    ("ray::ServeController", "controller"),
    ("gcs_server", "gcs"),
    ("raylet/raylet", "raylet"),
    ("serve run", "serve run"),
    ("ray::IDLE", "idle workers"),
)
REST = "the rest of Ray"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def role_of(command: str) -> str:
    """What a process is, by its command line: a deployment's name in small letters, or one of Ray's parts."""
    if replica := _REPLICA.search(command):
        return replica[1].lower()
    return next((role for part, role in _OTHERS if part in command), REST)


def cpu_seconds(root: int) -> dict[str, float]:
    """CPU time so far, by role, of `root` and all that descend from it."""
    return _by_role(root, _cpu_s)


class CpuMeter:
    """CPU time that a graph spends from now on. root: None is a server whose processes are not known."""

    def __init__(self, root: int | None) -> None:
        self._root = root
        self._before = cpu_seconds(root) if root else {}

    def read(self, requests: int) -> dict[str, float]:
        """Seconds a request, by role; empty where nothing is known."""
        now = cpu_seconds(self._root) if self._root else {}
        return {role: (spent - self._before.get(role, 0.0)) / requests for role, spent in now.items()}


def anonymous_bytes(root: int) -> dict[str, float]:
    """Memory now, by role, of `root` and all that descend from it."""
    return _by_role(root, processes.anonymous_bytes)


def _by_role(root: int, measure: Callable[[int], float]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for process in processes.descendants(root):
        with contextlib.suppress(OSError, psutil.Error):  # it has just ended
            command = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            sums[role_of(command)] += measure(process)
    return dict(sums)


def _cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S  # utime and stime: proc(5)


@dataclass
class MemorySamples:
    """Takes the memory of a graph every `period_s`, in a thread, until it is stopped."""

    root: int
    period_s: float
    minutes: list[float] = field(default_factory=list)
    bytes_by_role: list[dict[str, float]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def series(self) -> dict[str, list[float]]:
        """Bytes over time of each role that was there from first to last, and of all together."""
        always = set.intersection(*(set(sample) for sample in self.bytes_by_role)) if self.bytes_by_role else set()
        series = {role: [sample[role] for sample in self.bytes_by_role] for role in sorted(always)}
        return series | {"all": [sum(sample.values()) for sample in self.bytes_by_role]}

    def _watch(self) -> None:
        while True:
            self.minutes.append((time.monotonic() - self._started) / 60)
            self.bytes_by_role.append(anonymous_bytes(self.root))
            if self._stop.wait(self.period_s):
                return
