"""The report of a job: counts and speed, as JSON and as a table for the terminal."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from cluster.batch.scored import Counts, ScoredUnit, Seconds


@dataclass(slots=True)
class Clock:
    """Times and counts of this process's units. Times are in seconds since the clock was created."""

    started: float = field(default_factory=time.monotonic)
    planned_s: float = 0.0
    first_s: float | None = None
    last_s: float = 0.0
    finished_s: float = 0.0
    write_s: float = 0.0
    seconds: Seconds = field(default_factory=Seconds)
    steady_pairs: int = 0
    steady_score_s: float = 0.0
    counts: Counts = field(default_factory=Counts)
    units: int = 0
    workers: set[str] = field(default_factory=set)
    warm_pairs: int = 0
    warm_score_s: float = 0.0
    peak_bytes: int = 0
    device: str | None = None

    def now(self) -> float:
        return time.monotonic() - self.started

    def add(self, scored: ScoredUnit, write_s: float) -> None:
        """Count a unit that was just written. The steady state begins with the first: models are loaded and warm.

        A unit is warm if its scorer has scored another one before.
        """
        self.last_s = self.now()
        if self.first_s is None:
            self.first_s = self.last_s
        else:
            self.steady_pairs += scored.counts.pairs
            self.steady_score_s += scored.seconds.score
        if scored.worker in self.workers:
            self.warm_pairs += scored.counts.scored
            self.warm_score_s += scored.seconds.score
        self.peak_bytes = max(self.peak_bytes, scored.peak_bytes)
        self.device = scored.scale.device
        self.write_s += write_s
        self.seconds += scored.seconds
        self.counts += scored.counts
        self.units += 1
        self.workers.add(scored.worker)


@dataclass(frozen=True, slots=True)
class BatchReport:
    """counts, rows, bad_rows: totals of the whole job. this_run: figures of this process alone, see `this_run`.

    queries_without_candidates: queries of the queries file for which there was nothing to score.
    """

    counts: Counts
    rows: int
    bad_rows: int
    this_run: dict[str, Any]
    queries_without_candidates: int = 0

    @property
    def queries(self) -> int:
        return self.counts.queries

    @property
    def pairs(self) -> int:
        return self.counts.pairs

    @property
    def pairs_per_s(self) -> float:
        return float(self.this_run["pairs_per_s"])

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self.counts),
            "rows": self.rows,
            "bad_rows": self.bad_rows,
            "queries_without_candidates": self.queries_without_candidates,
            "this_run": self.this_run,
        }


def this_run(clock: Clock, scorers: int) -> dict[str, Any]:
    """Figures of one process.

    pairs_per_s: over the whole command. steady_pairs_per_s: from the first written unit to the last. engine_share:
    fraction of the scorers' steady time spent in the engine; in the rest they wait for input. padding_free: fraction
    of the computed tokens that are not padding. replaced_scorers: scorer processes beyond the pool's size. engine:
    seconds that the scorers' engines took for these pairs (without duplicates), summed over the scorers; of the warm
    units, or, if there are none, of all. peak_bytes: of the largest scorer.
    """
    steady_s = clock.last_s - clock.first_s if clock.first_s is not None else 0.0
    tokens = clock.counts.tokens
    return {
        "seconds": round(clock.finished_s, 3),
        "queries": clock.counts.queries,
        "pairs": clock.counts.pairs,
        "tokens": tokens,
        "units": clock.units,
        "pairs_per_s": round(clock.counts.pairs / clock.finished_s, 2) if clock.finished_s else 0.0,
        "steady_pairs_per_s": round(clock.steady_pairs / steady_s, 2) if steady_s else None,
        "engine_share": round(clock.steady_score_s / (steady_s * scorers), 4) if steady_s else None,
        "padding_free": round(tokens / (tokens + clock.counts.padding), 4) if tokens else None,
        "scorers": scorers,
        "replaced_scorers": max(0, len(clock.workers) - scorers),
        "engine": {
            "pairs": clock.warm_pairs or clock.counts.scored,
            "seconds": round(clock.warm_score_s if clock.warm_pairs else clock.seconds.score, 6),
            "warm": clock.warm_pairs > 0,
            "device": clock.device,
            "peak_bytes": clock.peak_bytes,
        },
        "stage_seconds": {
            "plan": round(clock.planned_s, 3),
            "start": round((clock.first_s or clock.planned_s) - clock.planned_s, 3),
            "read": round(clock.seconds.read, 3),
            "encode": round(clock.seconds.encode, 3),
            "score": round(clock.seconds.score, 3),
            "write": round(clock.write_s, 3),
            "finish": round(clock.finished_s - max(clock.last_s, clock.planned_s), 3),
        },
    }


def print_report(report: BatchReport, console: Console) -> None:
    run, counts = report.this_run, report.counts
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    without = report.queries_without_candidates
    table.add_row("queries", f"{counts.queries:,}" + (f", and {without:,} without candidates" if without else ""))
    table.add_row("pairs", f"{counts.pairs:,}, of which {counts.pairs - counts.scored:,} are duplicates")
    table.add_row("passages", f"{counts.truncated:,} truncated to the model's length, {counts.empty:,} empty")
    table.add_row("rows written", f"{report.rows:,}")
    table.add_row("rows skipped", f"{report.bad_rows:,}" + (" (bad_rows.jsonl)" if report.bad_rows else ""))
    if run["pairs"] < counts.pairs:
        table.add_row("this run", f"{run['pairs']:,} pairs; the others were finished before")
    table.add_row("speed", _speed(run))
    if run["engine_share"] is not None:
        table.add_row(
            "scorers",
            f"{run['scorers']}, {run['engine_share']:.0%} of their time in the engine, "
            f"{run['padding_free']:.0%} of tokens not padding, {run['replaced_scorers']} replaced",
        )
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run["stage_seconds"].items())
    table.add_row("seconds", f"{run['seconds']:.1f}: {stages} (stages overlap)")
    console.print(table)


def _speed(run: dict[str, Any]) -> str:
    text = f"{run['pairs_per_s']:,.0f} pairs/s including startup"
    if run["steady_pairs_per_s"] is not None:
        text += f", {run['steady_pairs_per_s']:,.0f} once warm"
    return text
