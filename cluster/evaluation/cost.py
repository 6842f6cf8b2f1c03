"""What a model costs to run: seconds, memory and money, as its batch jobs measured them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.batch.names import REPORT

METHOD = (
    "Seconds: of the jobs' engines, from token ids to logits, summed over the scorers, per pair and times 100. A "
    "scorer's first unit of work is left out where there are others. Memory: peak of one scorer, loading included; "
    "of its tensors on a GPU, else of its process."
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Engine time of several jobs, and memory of the largest scorer.

    seconds: of the engines for these pairs. warm: whether each scorer's first unit is left out. device: 'cpu', 'cuda'
    or 'mps'; several, joined by '+', where jobs ran on different ones.
    """

    pairs: int
    seconds: float
    warm: bool
    device: str
    peak_bytes: int

    @property
    def seconds_per_100(self) -> float:
        """For 100 documents, on one scorer."""
        return 100 * self.seconds / self.pairs

    def per_million_pairs(self, price_per_hour: float) -> float:
        """Cost of a million pairs if the machine of one scorer costs `price_per_hour`, and is kept busy."""
        return 1e6 * self.seconds / self.pairs / 3600 * price_per_hour


def cost_of(outputs: Sequence[Path]) -> Cost | None:
    """Read from the reports in these output directories; None if none has the figures, as after a lost report."""
    reports = [engine for output in outputs if (engine := _engine_figures(output / REPORT))]
    counted = [engine for engine in reports if engine["warm"]] or reports
    if not counted:
        return None
    return Cost(
        pairs=sum(engine["pairs"] for engine in counted),
        seconds=sum(engine["seconds"] for engine in counted),
        warm=counted[0]["warm"],
        device="+".join(sorted({engine["device"] for engine in counted})),
        peak_bytes=max(engine["peak_bytes"] for engine in reports),
    )


def _engine_figures(report: Path) -> dict[str, Any] | None:
    """None if the report cannot be read, is of an older version, or its process scored nothing."""
    try:
        engine: dict[str, Any] = json.loads(report.read_bytes())["this_run"]["engine"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return engine if engine["pairs"] and engine["seconds"] else None
