"""For each collection: rerank the first stage with the batch job, then measure both runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.batch.job import run_batch
from cluster.batch.report import BatchReport
from cluster.batch.session import ray_session
from cluster.batch.settings import BatchSettings
from cluster.evaluation.collection import Collection
from cluster.evaluation.comparison import check_something_to_measure, compare
from cluster.evaluation.report import FIRST_STAGE, RERANKED, RerankedResult, SuiteReport
from reranker.ir.qrels import read_qrels
from reranker.ir.runs import Run, read_run


@dataclass(frozen=True, slots=True)
class Suite:
    """One batch job per collection, each of which reranks the first `depth` candidates of every query."""

    model: str
    depth: int
    jobs: Sequence[tuple[Collection, BatchSettings]]


def plan_suite(collections: Sequence[Collection], output: Path, depth: int, options: Mapping[str, Any]) -> Suite:
    """One batch job per collection, into output/NAME.

    options: fields of BatchSettings that all collections share. Raises InvalidFile when a run or its qrels cannot
    be read or have no query in common, so that this does not come up after hours of reranking.
    """
    jobs = plan_jobs(collections, output, depth, options)
    check_collections(collections)
    return Suite(jobs[0][1].checkpoint.model, depth, jobs)


def plan_jobs(
    collections: Sequence[Collection], output: Path, depth: int, options: Mapping[str, Any]
) -> list[tuple[Collection, BatchSettings]]:
    """As for `plan_suite`; reads no file."""
    return [
        (
            collection,
            BatchSettings.model_validate(
                {
                    **options,
                    "queries": collection.queries,
                    "corpus": collection.corpus,
                    "run": collection.run,
                    "output": output / collection.name,
                    "depth": depth,
                    "resume": True,
                }
            ),
        )
        for collection in collections
    ]


def check_collections(collections: Sequence[Collection]) -> None:
    """Raises InvalidFile for a run or qrels that cannot be read, or that have no query in common."""
    for collection in collections:
        check_something_to_measure(
            collection.run, read_run(collection.run), collection.qrels, read_qrels(collection.qrels)
        )


def read_first_stage(run: Path, depth: int) -> Run:
    """The candidates that the job reranked, in trec_eval's order. The job takes ties in the order of the file."""
    taken = {query_id: set(docids[:depth]) for query_id, docids in read_run(run, "file").items()}
    return {
        query_id: [docid for docid in docids if docid in taken[query_id]]
        for query_id, docids in read_run(run).items()
    }


def run_suite(suite: Suite, console: Console) -> SuiteReport:
    """Rerank and measure one collection after another, skipping jobs that an earlier call has finished.

    Both runs are measured over the first `depth` candidates, so they differ in order alone. Raises what the batch job
    raises.
    """
    reports = run_jobs([(collection.name, settings) for collection, settings in suite.jobs], console)
    results = []
    for (collection, settings), report in zip(suite.jobs, reports, strict=True):
        runs = [
            (FIRST_STAGE, read_first_stage(collection.run, suite.depth)),
            (RERANKED, read_run(Path(settings.output, "run.trec"))),
        ]
        comparison = compare(read_qrels(collection.qrels), runs)
        results.append(RerankedResult(collection, report.queries, report.pairs, comparison))
    return SuiteReport(suite.model, suite.depth, results)


def run_jobs(jobs: Sequence[tuple[str, BatchSettings]], console: Console) -> list[BatchReport]:
    """Run one job after another, each announced by its name, and skip those that an earlier call has finished."""
    reports = []
    unfinished = [settings for _, settings in jobs if not Path(settings.output, "_SUCCESS").is_file()]
    with ray_session(unfinished[0].address) if unfinished else nullcontext():  # one Ray for all jobs
        for number, (name, settings) in enumerate(jobs, 1):
            console.print(f"{name} ({number} of {len(jobs)})", markup=False, highlight=False)
            reports.append(run_batch(settings, console))
    return reports
