"""What every scenario is given and gives back."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console

from cluster.bench.http import figures, runs
from cluster.bench.http.arrivals import Mix, parse_mix
from cluster.bench.http.engine_baseline import OwnEngine
from cluster.bench.http.peers import Target
from cluster.bench.http.records import Row
from cluster.bench.http.settings import HttpBenchSettings
from cluster.bench.http.texts import Texts
from reranker.errors import Unavailable

ENGINE = "the engine alone"
WARM_UP = 10  # requests of a closed loop that do not count
_MAXIMUM_S = 10.0  # of load, to find what a server can do at most


@dataclass(frozen=True, slots=True)
class Bench:
    """engine: None where the servers' engine is not ours to run."""

    settings: HttpBenchSettings
    targets: Sequence[Target]
    texts: Texts
    engine: OwnEngine | None
    console: Console
    maxima: dict[str, float] = field(default_factory=dict)

    def turns(self, scenario: str, number: int) -> list[Target]:
        """The targets in this round's order."""
        self.console.print(f"{scenario}, round {number + 1} of {self.settings.rounds}")
        order = random.Random(f"{self.settings.seed} {scenario} {number}")  # noqa: S311  (an order, not a secret)
        return order.sample(list(self.targets), len(self.targets))

    def in_order(self, rows: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
        """As the targets stand, so that each keeps its colour."""
        return {target.name: rows[target.name] for target in self.targets}

    def unloaded_maximum(self, target: Target) -> float:
        """Documents/s with enough clients that wait for their answers; measured once a target."""
        if target.name not in self.maxima:
            settings, mix = self.settings, self.mix
            for size in mix.sizes:
                self.texts.prepare(size)
            seconds = min(_MAXIMUM_S, settings.seconds_of("throughput"))
            self.console.print(f"the unloaded maximum of {target.name}: {settings.clients} clients, {seconds:.0f} s")
            sizes = mix.draw(10_000, np.random.default_rng(settings.seed))
            run = runs.run_clients(target, self.texts, settings.clients, cycle(sizes), seconds, settings.timeout_s)
            check(target, run.rows)
            self.maxima[target.name] = figures.docs_per_s(run.rows)
        return self.maxima[target.name]

    @property
    def mix(self) -> Mix:
        return parse_mix("--mix", self.settings.mix)


@dataclass(frozen=True, slots=True)
class Outcome:
    """rows: by target, of all rounds."""

    figures: dict[str, Any]
    rows: Mapping[str, list[Row]]


def check(target: Target, rows: Sequence[Row]) -> None:
    """Raises Unavailable when a server that was not overloaded answered next to nothing."""
    accepted = sum(row.accepted for row in rows)
    if accepted < len(rows) / 2:
        raise Unavailable(f"{target.name}: {len(rows)} requests brought {figures.statuses(rows)}")


def p50_of(rows: Sequence[Row]) -> float:
    """Once warm."""
    return median(row.latency_s for row in rows[WARM_UP:])


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    roles = {role for one in rounds for role in one}
    return {role: median(one.get(role, 0.0) for one in rounds) for role in sorted(roles)}
