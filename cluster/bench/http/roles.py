"""The processes of a graph on this machine by role: their private memory and their CPU time. Linux only."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Callable

import psutil

from cluster.bench.processes import Sampler, command_of
from cluster.local import processes

_REPLICA = re.compile(r"ray::ServeReplica:[^:]+:(\w+)")
# The first of these that a command line contains determines the role.
_OTHER_ROLES = (
    ("ray::ProxyActor", "proxy"),
    ("bin/haproxy", "haproxy"),
    ("ray::HAProxyManager", "haproxy manager"),
    ("ray::ServeController", "controller"),
    ("gcs_server", "gcs"),
    ("raylet/raylet", "raylet"),
    ("cluster.local.server", "server"),
    ("ray::IDLE", "idle workers"),
)
REST = "the rest of Ray"


def role_of(command: str) -> str:
    """The role of a process by its command line: its deployment's name in lower case, or a part of Ray."""
    if replica := _REPLICA.search(command):
        return replica[1].lower()
    return next((role for part, role in _OTHER_ROLES if part in command), REST)


def cpu_seconds(root: int) -> dict[str, float]:
    """CPU seconds used so far, by role, of the process `root` and all its descendants."""
    return _by_role(root, _cpu_seconds)


def anonymous_bytes(root: int) -> dict[str, float]:
    """Private memory by role of the process `root` and all its descendants."""
    return _by_role(root, processes.anonymous_bytes)


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _by_role(root: int, measure: Callable[[int], float]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for pid in processes.descendants(root):
        with contextlib.suppress(psutil.Error):  # the process has just exited
            sums[role_of(command_of(pid))] += measure(pid)
    return dict(sums)


class CpuMeter:
    """CPU time that a graph uses after this object is created. root: None if the server's processes are unknown."""

    def __init__(self, root: int | None) -> None:
        self._root = root
        self._before = cpu_seconds(root) if root else {}

    def read(self, requests: int) -> dict[str, float]:
        """CPU seconds per request by role; empty if the processes are unknown."""
        now = cpu_seconds(self._root) if self._root else {}
        return {role: (spent - self._before.get(role, 0.0)) / requests for role, spent in now.items()}


class MemorySampler(Sampler):
    """Samples the private memory of a graph by role."""

    def __init__(self, root: int, period_s: float) -> None:
        super().__init__(lambda: anonymous_bytes(root), period_s)

    @property
    def minutes(self) -> list[float]:
        return [at_s / 60 for at_s in self.times_s]

    def series(self) -> dict[str, list[float]]:
        """Bytes over time of each role that every sample has, and of all roles together."""
        always = set.intersection(*(set(sample) for sample in self.samples)) if self.samples else set()
        series = {role: [sample[role] for sample in self.samples] for role in sorted(always)}
        return series | {"all": [sum(sample.values()) for sample in self.samples]}
