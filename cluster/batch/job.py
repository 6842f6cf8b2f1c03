"""The offline road: plan -> score unit by unit -> a parquet part each -> a TREC run -> `_SUCCESS`.

The driver writes: results are small, and a cluster then needs no shared disk. A job that was killed goes on from the
parts that are there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cluster.batch.identity import identity_of, refuse_other
from cluster.batch.inputs.bad_rows import BadRows
from cluster.batch.output import BatchOutput, refuse_used
from cluster.batch.pipeline import scored_units, scorers
from cluster.batch.plan import Plan, make_plan
from cluster.batch.report import BatchReport, Clock, this_run
from cluster.batch.scored import ScoredUnit
from cluster.batch.session import ray_session, refuse_unreachable
from cluster.batch.settings import BatchSettings
from reranker.checkpoints.files import load_encoder, locate
from reranker.engine.allocator import give_back_freed_memory
from reranker.errors import InvalidFile
from reranker.files import write_atomically


def run_batch(settings: BatchSettings, console: Console) -> BatchReport:
    """Run the job to its `_SUCCESS`, from where it stands. Progress goes to the console.

    Raises JobRefused when the output belongs to another job, InvalidFile for wrong input and TooManyBadRows (before
    anything is scored, but for bad scores), CheckpointError for a wrong checkpoint, and ServiceError when scoring
    or writing fails; then what is done is kept.
    """
    clock = Clock()
    refuse_used(settings.output, resume=settings.resume)
    refuse_unreachable(settings.address)
    files = locate(settings.checkpoint, weights=False)
    load_encoder(settings.checkpoint, files)  # refuse a wrong checkpoint before anything is read or started
    with console.status("reading the inputs …"):
        identity = identity_of(settings, files)
    with BatchOutput.opened(settings.output, resume=settings.resume) as output:
        if output.begun is not None and (output.units or output.is_finished):
            refuse_other(output.begun, identity, str(settings.output))
        if output.is_finished:
            output.tidy()
            return _finished_before(output, clock)
        plan = _planned(settings, output, identity, console)
        clock.planned_s = clock.now()
        bad = BadRows(settings.max_bad_rows, plan.bad_rows + output.bad_rows)
        pending = [unit for unit in range(len(plan)) if unit not in output.units]
        pool = _score(plan, pending, settings, output, bad, clock, console) if pending else 0
        output.bad_rows += plan.bad_rows
        output.finish(plan.dead_letters, identity, settings.for_manifest())
        clock.finished_s = clock.now()
        report = BatchReport(output.counts, output.rows, output.bad_rows, this_run(clock, pool))
        _write_report(settings.output, report)
    return report


def _planned(settings: BatchSettings, output: BatchOutput, identity: dict[str, Any], console: Console) -> Plan:
    """The plan that is there, or a new one. Raises InvalidFile, TooManyBadRows."""
    plan = Plan.open(output.plan) if output.begun == identity else None
    if plan is not None:
        return plan
    output.begin(identity)
    try:
        with console.status("reading queries, corpus and run …") as status:
            plan = make_plan(settings, output.plan, status.update)
    except BaseException:
        output.forget()
        raise
    give_back_freed_memory()  # planning takes more than all that follows
    return plan


def _score(
    plan: Plan,
    pending: list[int],
    settings: BatchSettings,
    output: BatchOutput,
    bad: BadRows,
    clock: Clock,
    console: Console,
) -> int:
    """Score and write what is pending. Returns how many scorers there were at most."""
    with ray_session(settings.address), _progress(plan, pending, console) as done:
        pool = scorers(settings)
        for scored in scored_units(plan, pending, settings):
            _admit(scored, bad)
            started = time.monotonic()
            output.commit(scored)
            clock.add(scored, time.monotonic() - started)
            done(scored)
    return pool


def _admit(scored: ScoredUnit, bad: BadRows) -> None:
    """Raises TooManyBadRows when a unit has more candidates without a score than may be."""
    for row in scored.bad:
        bad.admit([row], InvalidFile(f"query {row.query_id!r}, passage {row.docid!r}", row.reason))


def _finished_before(output: BatchOutput, clock: Clock) -> BatchReport:
    manifest = json.loads((output.directory / "_SUCCESS").read_bytes())
    clock.finished_s = clock.now()
    report = BatchReport(output.counts, output.rows, manifest["counts"]["bad_rows"], this_run(clock, 0))
    if not (output.directory / "report.json").is_file():  # it was killed just before
        _write_report(output.directory, report)
    return report


def _write_report(directory: Path, report: BatchReport) -> None:
    write_atomically(directory / "report.json", json.dumps(report.to_json(), indent=1) + "\n")


@contextmanager
def _progress(plan: Plan, pending: list[int], console: Console) -> Iterator[Any]:
    """Two bars with rate and time left; yields what to call with each unit done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    done = np.setdiff1d(np.arange(len(plan)), pending)
    with Progress(*columns, console=console, refresh_per_second=2) as progress:
        bars = [
            (progress.add_task(name, total=int(of_unit.sum()), completed=int(of_unit[done].sum()), rate=""), of_unit)
            for name, of_unit in (("queries", plan.queries), ("pairs", plan.pairs))
        ]
        started = time.monotonic()
        counted = [0, 0]

        def advance(scored: ScoredUnit) -> None:
            for number, (bar, of_unit) in enumerate(bars):
                counted[number] += int(of_unit[scored.unit])
                rate = counted[number] / (time.monotonic() - started)
                progress.update(bar, advance=int(of_unit[scored.unit]), rate=f"{rate:,.1f}/s")

        yield advance
