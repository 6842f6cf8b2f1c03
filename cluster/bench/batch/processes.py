"""Memory of a job's processes while it runs, by what they do. Linux: it reads /proc.

Counted is what a process has for itself, anonymous pages; not the files it maps, which the system takes back when it
needs to, and not Ray's object store, whose use is taken apart.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cluster.local.processes import anonymous_bytes, descendants

_PERIOD_S = 0.5
# What Ray calls the processes of each stage.
_ROLES = {"read_stage": "reader", "EncodeStage": "encoder", "ScoreStage": "scorer"}
_STORE = Path("/dev/shm")  # noqa: S108  (where Ray keeps its object store)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the largest process of each role, sampled: median over the job's second half, and peak."""

    steady: dict[str, int]
    peak: dict[str, int]


@dataclass
class MemoryWatch:
    """Samples the process `driver` and all that descend from it until it is told to stop."""

    driver: int
    _samples: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> Memory:
        self._stop.set()
        self._thread.join()
        halves = {role: sorted(values[len(values) // 2 :]) for role, values in self._samples.items()}
        return Memory(
            {role: values[len(values) // 2] for role, values in halves.items()},
            {role: max(values) for role, values in self._samples.items()},
        )

    def _watch(self) -> None:
        before = shutil.disk_usage(_STORE).used
        while not self._stop.wait(_PERIOD_S):
            largest: dict[str, int] = defaultdict(int)
            for process in descendants(self.driver):
                with contextlib.suppress(OSError, psutil.Error):  # it has just ended
                    role = "driver" if process == self.driver else _role(process)
                    if role is not None:
                        largest[role] = max(largest[role], anonymous_bytes(process))
            largest["object store"] = shutil.disk_usage(_STORE).used - before
            for role, value in largest.items():
                self._samples[role].append(value)


def _role(process: int) -> str | None:
    command = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return next((role for name, role in _ROLES.items() if name in command.split(" --")[0]), None)
