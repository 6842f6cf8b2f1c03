"""Run a batch job: plan -> score units -> one parquet part per unit -> a TREC run -> `_SUCCESS`.

The driver writes all output: results are small, and a cluster then needs no shared disk. A job that was killed is
resumed from the parts it has written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cluster.batch.claim import refuse_occupied
from cluster.batch.identity import Identity, as_begun, identity_of, job_of
from cluster.batch.inputs.bad_rows import BadRows
from cluster.batch.output import BatchOutput
from cluster.batch.pipeline import scored_units, scorers
from cluster.batch.plan import Plan, make_plan
from cluster.batch.report import BatchReport, Clock, this_run
from cluster.batch.scored import ScoredUnit
from cluster.batch.session import ray_session, refuse_unreachable
from cluster.batch.settings import BatchSettings
from cluster.batch.storage import Storage
from cluster.batch.storage.opening import storage_of
from reranker.checkpoints.encoders import load_encoder
from reranker.checkpoints.files import locate
from reranker.engine.allocator import give_back_freed_memory
from reranker.errors import CannotWrite, InvalidFile

Scored = Callable[[Plan, list[int], BatchSettings], AbstractContextManager[tuple[int, Iterable[ScoredUnit]]]]
"""Scores these units of the plan: the number of scorers, and the units as they finish, in any order."""


def run_batch(settings: BatchSettings, console: Console) -> BatchReport:
    """Run the job, or resume it, until `_SUCCESS` is written. Progress goes to the console.

    Raises JobRefused if the output belongs to another job, InvalidFile or TooManyBadRows for wrong input (before
    scoring; TooManyBadRows later too, for bad scores), CheckpointError for a wrong checkpoint, and ServiceError when
    scoring or writing fails; finished units are then kept.
    """
    clock = Clock()
    storage = storage_of(settings, lambda line: console.print(line, markup=False, highlight=False))
    refuse_occupied(storage, resume=settings.resume)
    refuse_unreachable(settings.address)
    files = locate(settings.checkpoint, weights=False)
    load_encoder(
        settings.checkpoint, files
    )  # a wrong checkpoint fails here, before inputs are read or Ray is started
    with console.status("reading the inputs …"):
        identity = identity_of(settings, files)
    return complete(settings, storage, identity, _scored_on_ray, console, clock)


def complete(
    settings: BatchSettings, storage: Storage, identity: Identity, scored_by: Scored, console: Console, clock: Clock
) -> BatchReport:
    """Do what is left of the job: all of it, the units that are missing or damaged, or nothing. Raises as above."""
    with BatchOutput.opened(storage, resume=settings.resume) as output:
        output.admit(identity)
        output.mend_run()
        if output.manifest is not None:
            output.remove_work_files()
            return _report_finished(output, output.manifest, clock)
        if output.damaged:
            console.print(_damage(output), style="yellow", markup=False, highlight=False)
        identity = as_begun(output.identity, identity)
        output.begin(identity)
        plan = _open_or_make_plan(settings, output, identity, console)
        clock.planned_s = clock.now()
        bad = BadRows(settings.max_bad_rows, plan.bad_rows + output.bad_rows)
        pending = [unit for unit in range(len(plan)) if unit not in output.units]
        pool = _score(plan, pending, settings, scored_by, output, bad, clock, console) if pending else 0
        output.bad_rows += plan.bad_rows
        output.queries_without_candidates = plan.queries_without_candidates
        output.finish(plan.dead_letters, identity, settings.for_manifest())
        clock.finished_s = clock.now()
        without = output.queries_without_candidates
        report = BatchReport(output.counts, output.rows, output.bad_rows, this_run(clock, pool), without)
        output.write_report(report.to_json())
    return report


def _open_or_make_plan(settings: BatchSettings, output: BatchOutput, identity: Identity, console: Console) -> Plan:
    """The plan of an earlier run of this job, or a new one. Raises InvalidFile, TooManyBadRows."""
    job = job_of(identity)
    plan = Plan.open(output.plan, job)
    if plan is not None:
        return plan
    try:
        with console.status("reading the inputs …") as status:
            plan = make_plan(settings, output.plan, status.update, job)
    except BaseException:
        with suppress(CannotWrite):  # what went wrong before is said
            output.discard_unscored()
        raise
    give_back_freed_memory()  # planning takes more memory than the rest of the job
    return plan


@contextmanager
def _scored_on_ray(
    plan: Plan, units: list[int], settings: BatchSettings
) -> Iterator[tuple[int, Iterable[ScoredUnit]]]:
    with ray_session(settings.address):
        yield scorers(settings), scored_units(plan, units, settings)


def _score(
    plan: Plan,
    pending: list[int],
    settings: BatchSettings,
    scored_by: Scored,
    output: BatchOutput,
    bad: BadRows,
    clock: Clock,
    console: Console,
) -> int:
    """Score and write the pending units. Returns the size of the scorer pool."""
    with scored_by(plan, pending, settings) as (pool, units), _progress(plan, pending, console) as advance:
        for scored in units:
            _admit_bad_scores(scored, bad)
            started = time.monotonic()
            output.commit(scored)
            clock.add(scored, time.monotonic() - started)
            advance(scored)
    return pool


def _admit_bad_scores(scored: ScoredUnit, bad: BadRows) -> None:
    """Count a unit's candidates without a finite score. Raises TooManyBadRows."""
    for row in scored.bad:
        bad.admit([row], InvalidFile(f"query {row.query_id!r}, passage {row.docid!r}", row.reason))


def _damage(output: BatchOutput) -> str:
    """What is said of an earlier run's files that cannot be used."""
    names = ", ".join(output.damaged[:3]) + (", …" if len(output.damaged) > 3 else "")
    return f"{output.storage}: damaged or missing: {names}. What they held is made again"


def _report_finished(output: BatchOutput, manifest: dict[str, Any], clock: Clock) -> BatchReport:
    """The report of a job that an earlier process has finished."""
    clock.finished_s = clock.now()
    totals = manifest["counts"]
    without = totals["queries_without_candidates"]
    report = BatchReport(output.counts, output.rows, totals["bad_rows"], this_run(clock, 0), without)
    if not totals.items() <= output.read_report().items():  # that process was killed after writing _SUCCESS
        output.write_report(report.to_json())
    return report


@contextmanager
def _progress(plan: Plan, pending: list[int], console: Console) -> Iterator[Any]:
    """Show two progress bars, of queries and pairs; yields a function to call with each finished unit."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    finished = np.setdiff1d(np.arange(len(plan)), pending)
    with Progress(*columns, console=console, refresh_per_second=2) as progress:
        bars = [
            (progress.add_task(name, total=int(sizes.sum()), completed=int(sizes[finished].sum()), rate=""), sizes)
            for name, sizes in (("queries", plan.queries), ("pairs", plan.pairs))
        ]
        started = time.monotonic()
        counted = [0, 0]

        def advance(scored: ScoredUnit) -> None:
            for number, (bar, sizes) in enumerate(bars):
                counted[number] += int(sizes[scored.unit])
                rate = counted[number] / (time.monotonic() - started)
                progress.update(bar, advance=int(sizes[scored.unit]), rate=f"{rate:,.1f}/s")

        yield advance
