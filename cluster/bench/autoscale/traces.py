"""Arrival rates over time: five shapes of any length, deterministic for a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rates = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trace:
    """rates: float (seconds,), the arrival rate of each second as a share of the peak; it may exceed 1."""

    name: str
    rates: Rates


def step(length_s: int, rng: np.random.Generator) -> Rates:
    """A fifth of the peak, then at once the peak, then a fifth again."""
    rates = np.full(length_s, 0.2)
    rates[length_s // 3 : 2 * length_s // 3] = 1.0
    return rates


def wave(length_s: int, rng: np.random.Generator) -> Rates:
    """A day: 5 % at night, the peak at noon."""
    day = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length_s) / length_s)
    return 0.05 + 0.95 * day


def burst(length_s: int, rng: np.random.Generator) -> Rates:
    """A fifth of the peak, and five bursts of 60 to 100 %, each for a twentieth to a tenth of the time."""
    rates = np.full(length_s, 0.2)
    part = length_s / 5
    for number in range(5):
        lasts = part * rng.uniform(0.25, 0.5)
        start = part * number + (part - lasts) * rng.uniform(0.2, 0.8)
        rates[int(start) : int(start + lasts)] = rng.uniform(0.6, 1.0)
    return rates


def herd(length_s: int, rng: np.random.Generator) -> Rates:
    """A twentieth, and three spikes, each with as much work as the peak brings in a 120th of the length."""
    rates = np.full(length_s, 0.05)
    lasts = max(2, length_s // 1440)
    for number in range(3):
        start = int(length_s * (number + rng.uniform(0.2, 0.6)) / 3)
        rates[start : start + lasts] += length_s / 120 / lasts
    return rates


def zero(length_s: int, rng: np.random.Generator) -> Rates:
    """30 % of the peak, then nothing for long enough to stop every replica, then 30 % again."""
    rates = np.full(length_s, 0.3)
    rates[length_s // 5 : 4 * length_s // 5] = 0.0
    return rates


# Shape, and its length in seconds in a simulation.
SHAPES: dict[str, tuple[Callable[[int, np.random.Generator], Rates], int]] = {
    "step": (step, 5_400),
    "wave": (wave, 86_400),
    "burst": (burst, 7_200),
    "herd": (herd, 7_200),
    "zero": (zero, 7_200),
}


def make_trace(name: str, seed: int, length_s: int | None = None) -> Trace:
    """name: one of SHAPES. length_s: None means the length in a simulation."""
    shape, simulated_s = SHAPES[name]
    return Trace(name, shape(length_s or simulated_s, np.random.default_rng(seed)))
