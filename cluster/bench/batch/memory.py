"""Memory of a batch job's processes by stage, sampled while it runs. Linux only.

Only private memory counts: the system reclaims mapped files when it needs to, and Ray's object store in shared memory
is reported on its own.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_high

import psutil

from cluster.bench.processes import Sampler, command_of
from cluster.local.processes import anonymous_bytes, descendants

_PERIOD_S = 0.5
# Ray names the processes of a stage after its function or class.
_ROLES = {"read_stage": "reader", "EncodeStage": "encoder", "ScoreStage": "scorer"}
_OBJECT_STORE = Path("/dev/shm")  # noqa: S108  (where Ray keeps its object store)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the largest process of each role: the median over the second half of the job, and the peak."""

    steady: dict[str, int]
    peak: dict[str, int]


class MemoryWatch(Sampler):
    """Samples the process `driver` and all its descendants."""

    def __init__(self, driver: int) -> None:
        store_before = shutil.disk_usage(_OBJECT_STORE).used
        super().__init__(lambda: _bytes_by_role(driver, store_before), _PERIOD_S)


def summarize(samples: Sequence[dict[str, float]]) -> Memory:
    roles = dict.fromkeys(role for sample in samples for role in sample)
    series = {role: [int(sample[role]) for sample in samples if role in sample] for role in roles}
    return Memory(
        steady={role: median_high(values[len(values) // 2 :]) for role, values in series.items()},
        peak={role: max(values) for role, values in series.items()},
    )


def _bytes_by_role(driver: int, store_before: int) -> dict[str, float]:
    largest: dict[str, float] = defaultdict(float)
    for pid in descendants(driver):
        with contextlib.suppress(psutil.Error):  # the process has just exited
            role = "driver" if pid == driver else _role(pid)
            if role is not None:
                largest[role] = max(largest[role], anonymous_bytes(pid))
    return {**largest, "object store": shutil.disk_usage(_OBJECT_STORE).used - store_before}


def _role(pid: int) -> str | None:
    command = command_of(pid).split(" --")[0]
    return next((role for name, role in _ROLES.items() if name in command), None)
