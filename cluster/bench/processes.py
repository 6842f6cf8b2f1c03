"""What running processes use: their command lines, and figures by role sampled over time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

import psutil


def command_of(pid: int) -> str:
    """The command line, which for Ray's workers names the actor's class and method. Raises psutil.Error."""
    return " ".join(psutil.Process(pid).cmdline())


class Sampler:
    """Calls `read` every `period_s` in a thread while the `with` block runs.

    times_s: of each sample, from the start. samples: what `read` returned, a figure by role.
    """

    def __init__(self, read: Callable[[], dict[str, float]], period_s: float) -> None:
        self._read, self._period_s = read, period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.times_s: list[float] = []
        self.samples: list[dict[str, float]] = []

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            sample, at_s = self._read(), time.monotonic() - self._started
            self.times_s.append(at_s)
            self.samples.append(sample)
            if self._stop.wait(self._period_s):
                return
