"""What a scenario consists of, what it gets, and what it returns."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from statistics import median
from typing import NamedTuple

import numpy as np
from matplotlib.figure import SubFigure
from rich.console import Console

from cluster.bench.http import figures, runs
from cluster.bench.http.arrivals import Mix, parse_mix
from cluster.bench.http.engine_baseline import EngineBaseline
from cluster.bench.http.records import Row
from cluster.bench.http.settings import HttpBenchSettings
from cluster.bench.http.targets import Target
from cluster.bench.http.texts import Texts
from cluster.bench.report import Figures
from reranker.errors import Unavailable

ENGINE = "engine alone"
WARM_UP = 10  # requests of a closed loop that are not measured
_MAXIMUM_S = 10.0  # seconds of load to measure the unloaded maximum


@dataclass(frozen=True, slots=True)
class Bench:
    """engine: None if the benchmark did not start the servers, and so does not know their engine."""

    settings: HttpBenchSettings
    targets: Sequence[Target]
    texts: Texts
    engine: EngineBaseline | None
    console: Console
    maxima: dict[str, float] = field(default_factory=dict)

    def shuffled_targets(self, scenario: str, number: int) -> list[Target]:
        """The targets in the random order of this round."""
        self.console.print(f"{scenario}, round {number + 1} of {self.settings.rounds}")
        order = random.Random(f"{self.settings.seed} {scenario} {number}")  # noqa: S311  (an order, not a secret)
        return order.sample(list(self.targets), len(self.targets))

    def in_order(self, rows: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
        """In the order of the targets, which decides the colours."""
        return {target.name: rows[target.name] for target in self.targets}

    def unloaded_maximum(self, target: Target) -> float:
        """Documents/s of `settings.clients` clients in a closed loop; measured once per target."""
        if target.name not in self.maxima:
            settings, mix = self.settings, self.mix
            for size in mix.sizes:
                self.texts.prepare(size)
            seconds = min(_MAXIMUM_S, settings.seconds_of("throughput"))
            self.console.print(f"unloaded maximum of {target.name}: {settings.clients} clients, {seconds:.0f} s")
            sizes = mix.draw(10_000, np.random.default_rng(settings.seed))
            run = runs.run_clients(target, self.texts, settings.clients, cycle(sizes), seconds, settings.timeout_s)
            refuse_failing(target, run.rows)
            self.maxima[target.name] = figures.docs_per_s(run.rows)
        return self.maxima[target.name]

    @property
    def mix(self) -> Mix:
        return parse_mix("--mix", self.settings.mix)


@dataclass(frozen=True, slots=True)
class Outcome:
    """rows: by target, of all rounds."""

    figures: Figures
    rows: Mapping[str, list[Row]]


class Scenario(NamedTuple):
    """report: prints the figures. panels: by title, functions that draw a row of the picture."""

    measure: Callable[[Bench], Outcome]
    report: Callable[[Figures, Console], None]
    panels: Callable[[Outcome], Mapping[str, Callable[[SubFigure], None]]]


def refuse_failing(target: Target, rows: Sequence[Row]) -> None:
    """Raises Unavailable when a server without overload accepted less than half of the requests."""
    if sum(row.accepted for row in rows) < len(rows) / 2:
        raise Unavailable(f"{target.name}: {len(rows)} requests gave {figures.statuses(rows)}")


def p50_of(rows: Sequence[Row]) -> float:
    """Median latency after the warm-up."""
    return median(row.latency_s for row in rows[WARM_UP:])
