"""Estimate a job: read all inputs, score a sample on the machines of the job, and write no output."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from rich.console import Console
from rich.table import Table

from cluster.batch.pipeline import ENCODER_CPUS, SCORER_CPUS, needs_gpu, scorers
from cluster.batch.plan import Plan, make_plan
from cluster.batch.scored import ScoredUnit
from cluster.batch.session import ray_session
from cluster.batch.settings import BatchSettings
from cluster.batch.stages.encode import EncodeStage
from cluster.batch.stages.read import read_stage
from cluster.batch.stages.score import ScoreStage
from cluster.batch.storage.opening import storage_of
from reranker.checkpoints.encoders import load_encoder
from reranker.files import make_directory, write_errors

_SAMPLE_SECONDS = 10.0
"""Time to spend on scoring sample units; at least one is scored."""

_LONG_UNIT_S = 120.0
"""Units that take longer than this get the advice to make them smaller."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate of a whole job, extrapolated from the sample.

    start_s: startup of Ray's actors and the model. seconds: the whole job, including startup. unit_s: the largest
    unit, which is the most work that each scorer loses when the job is killed.
    """

    queries: int
    pairs: int
    units: int
    bad_rows: int
    tokens: int
    scorers: int
    start_s: float
    seconds: float
    unit_s: float
    pairs_per_s: float
    sampled_pairs: int

    def cost(self, price_per_hour: float) -> float:
        """Cost of the job, if one scorer costs `price_per_hour`."""
        return self.seconds / 3600 * self.scorers * price_per_hour

    def to_json(self, price_per_hour: float | None) -> dict[str, Any]:
        cost = {} if price_per_hour is None else {"cost": round(self.cost(price_per_hour), 4)}
        return asdict(self) | cost


def estimate(settings: BatchSettings, console: Console) -> Estimate:
    """Estimate the job. Raises as `run_batch` does, also if the output cannot be looked at."""
    storage_of(settings, console.print).names()
    load_encoder(settings.checkpoint)
    if settings.work_dir is not None:
        with write_errors(settings.work_dir):
            make_directory(settings.work_dir)
    with tempfile.TemporaryDirectory(prefix="reranker-plan-", dir=settings.work_dir) as scratch:
        with console.status("reading the inputs …") as status:
            plan = make_plan(settings, Path(scratch, "plan"), status.update)
        with ray_session(settings.address), console.status("scoring a sample …"):
            return _extrapolate(plan, settings)


def _extrapolate(plan: Plan, settings: BatchSettings) -> Estimate:
    pool = scorers(settings)
    started = time.monotonic()
    encoder: Any = ray.remote(EncodeStage).options(num_cpus=ENCODER_CPUS).remote(settings.checkpoint)
    scorer: Any = (
        ray.remote(ScoreStage)
        .options(num_cpus=SCORER_CPUS, num_gpus=1 if needs_gpu(settings) else 0)
        .remote(settings.checkpoint, settings.engine, settings.top_k)
    )

    def score(unit: int) -> ScoredUnit:
        row = read_stage(pa.table({"unit": [unit]}), plan=str(plan.directory))
        return ScoredUnit.from_row(ray.get(scorer.__call__.remote(encoder.__call__.remote(row))))

    # A random sample, because a log's first queries may differ from its last.
    order = np.random.default_rng(0).permutation(len(plan)).tolist()
    first = score(order[0])  # not counted: it includes loading and warm-up
    start_s = time.monotonic() - started - first.seconds.score
    sample: list[ScoredUnit] = []
    while order and sum(unit.seconds.score for unit in sample) < _SAMPLE_SECONDS:
        sample.append(score(order.pop()))
    ray.kill(encoder)
    ray.kill(scorer)
    pairs = sum(unit.counts.pairs for unit in sample)
    tokens_per_pair = sum(unit.counts.tokens for unit in sample) / pairs
    pairs_per_s = pairs / sum(unit.seconds.score for unit in sample) * pool
    total = int(plan.pairs.sum())
    return Estimate(
        queries=int(plan.queries.sum()),
        pairs=total,
        units=len(plan),
        bad_rows=plan.bad_rows,
        tokens=round(total * tokens_per_pair),
        scorers=pool,
        start_s=round(start_s, 1),
        seconds=round(start_s + total / pairs_per_s, 1),
        unit_s=round(int(plan.pairs.max()) * pool / pairs_per_s, 1),
        pairs_per_s=round(pairs_per_s, 1),
        sampled_pairs=pairs,
    )


def print_estimate(estimated: Estimate, price_per_hour: float | None, console: Console) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("queries", f"{estimated.queries:,}")
    table.add_row("pairs", f"{estimated.pairs:,} in {estimated.units:,} units")
    table.add_row("rows skipped", f"{estimated.bad_rows:,}")
    table.add_row("tokens", f"about {estimated.tokens:,}")
    table.add_row("time", f"about {_duration(estimated.seconds)}, including {estimated.start_s:.0f} s of startup")
    table.add_row("speed", f"{estimated.pairs_per_s:,.0f} pairs/s on {estimated.scorers} scorer(s)")
    table.add_row(
        "lost if killed", f"at most {_duration(estimated.unit_s)} of each scorer's work{_advice(estimated)}"
    )
    if price_per_hour is not None:
        table.add_row(
            "cost", f"about {estimated.cost(price_per_hour):,.2f} at {price_per_hour:g} per scorer and hour"
        )
    table.add_row("sample", f"{estimated.sampled_pairs:,} pairs were scored for this estimate; nothing was written")
    console.print(table)


def _advice(estimated: Estimate) -> str:
    return "" if estimated.unit_s <= _LONG_UNIT_S else ": a smaller --unit-pairs lowers that"


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{minutes:.1f} min" if minutes >= 1 else f"{seconds:.0f} s"
