"""Jobs, such as those of a suite, run in this process by the job's own stages, without Ray."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console

from cluster.batch.identity import identity_of
from cluster.batch.job import complete
from cluster.batch.plan import Plan
from cluster.batch.report import Clock
from cluster.batch.scored import ScoredUnit
from cluster.batch.settings import BatchSettings
from cluster.batch.stages.encode import EncodeStage
from cluster.batch.stages.read import read_stage
from cluster.batch.stages.score import ScoreStage
from cluster.batch.storage.opening import storage_of
from cluster.evaluation.models import models_in, plan_models
from reranker.checkpoints.files import locate

QUIET = Console(quiet=True)
MODEL_OPTIONS = ("--device", "cpu", "--dtype", "float32")
OPTIONS: Mapping[str, Any] = {"checkpoint": {"device": "cpu", "dtype": "float32"}}


def finish_jobs(models: str, directory: Path, output: Path, depth: int) -> None:
    """Leave what `evaluate suite --models` leaves, given MODEL_OPTIONS, so that the command has nothing to score."""
    for suite in plan_models(models_in(models), directory, output, depth, OPTIONS).values():
        for _, settings in suite.jobs:
            run_here(settings, QUIET)


def run_here(settings: BatchSettings, console: Console) -> None:
    """`run_batch` without Ray."""
    identity = identity_of(settings, locate(settings.checkpoint, weights=False))
    complete(settings, storage_of(settings, console.print), identity, _scored_here, console, Clock())


@contextmanager
def _scored_here(plan: Plan, units: list[int], settings: BatchSettings) -> Iterator[tuple[int, Iterable[ScoredUnit]]]:
    encode = EncodeStage(settings.checkpoint)
    score = ScoreStage(settings.checkpoint, settings.engine, settings.top_k)
    rows = (read_stage(pa.table({"unit": [unit]}), plan=str(plan.directory)) for unit in units)
    yield 1, (ScoredUnit.from_row(score(encode(row))) for row in rows)
