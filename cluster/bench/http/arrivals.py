"""When requests should start, and how large each is. Knows nothing of HTTP or clocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reranker.errors import InvalidField


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that should start `at_s` seconds after the beginning of the run."""

    at_s: float
    documents: int


@dataclass(frozen=True, slots=True)
class Mix:
    """Request sizes in documents, with the share of requests of each size; shares add up to 1."""

    sizes: tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def mean_documents(self) -> float:
        return float(np.dot(self.sizes, self.shares))

    def draw(self, count: int, rng: np.random.Generator) -> list[int]:
        """`count` independent sizes."""
        return [int(size) for size in rng.choice(self.sizes, size=count, p=self.shares)]

    def __str__(self) -> str:
        return ",".join(f"{size}:{share:g}" for size, share in zip(self.sizes, self.shares, strict=True))


def parse_mix(option: str, text: str) -> Mix:
    """The mix of a text such as `100` or `10:5,100:4,1000:1`, SIZE:WEIGHT. Raises InvalidField."""
    weights: dict[int, float] = {}
    for part in text.split(","):
        size, _, weight = part.strip().partition(":")
        try:
            weights[int(size)] = float(weight or 1)
        except ValueError:
            weights[0] = 0.0  # invalid: refused below
    if not all(size > 0 and 0 < weight < float("inf") for size, weight in weights.items()):
        raise InvalidField(option, f"got {text!r}: give SIZE or comma-separated SIZE:WEIGHT, as in 10:5,100:4,1000:1")
    total = sum(weights.values())
    return Mix(tuple(weights), tuple(weight / total for weight in weights.values()))


def poisson(rate_per_s: float, seconds: float, mix: Mix, seed: int) -> Sequence[Arrival]:
    """Arrivals of independent clients in [0, seconds), in order: a Poisson process of rate `rate_per_s`."""
    rng = np.random.default_rng(seed)
    count = int(rng.poisson(rate_per_s * seconds))
    times = np.sort(rng.uniform(0, seconds, count))
    return [Arrival(float(at_s), size) for at_s, size in zip(times, mix.draw(count, rng), strict=True)]
