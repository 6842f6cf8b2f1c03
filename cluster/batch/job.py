"""The offline road: candidate rows -> encode -> score -> parquet, a TREC run, `_SUCCESS`.

Encoders and scorers are actor pools of their own, so that neither waits for the other. The driver writes: results
are small, and a cluster then needs no shared disk.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.exceptions import RayTaskError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cluster.batch.output import BatchOutput
from cluster.batch.rows import QUERIES_PER_BLOCK, Candidates, read_candidates
from cluster.batch.settings import BatchSettings
from cluster.batch.stages import EncodeStage, ScoreStage
from reranker.checkpoint import load_encoder
from reranker.errors import RerankerError


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What a job did. pairs_per_s counts from the first row read to the last one written, start-up included."""

    queries: int
    pairs: int
    rows: int
    missing_queries: int
    missing_passages: int
    seconds: float
    pairs_per_s: float


def run_batch(settings: BatchSettings, console: Console) -> BatchReport:
    """Run the job to its `_SUCCESS`. Progress goes to the console.

    Raises InvalidFile for wrong input (before anything is written), CheckpointError for a wrong checkpoint, and
    ServiceError when scoring fails.
    """
    with console.status("reading queries, corpus and run …"):
        candidates = read_candidates(settings)
    load_encoder(settings.checkpoint)  # refuse a wrong checkpoint here, in one line, rather than in an actor
    output = BatchOutput(settings.output)
    started = time.monotonic()
    rows = 0
    try:
        with _ray(settings.address), _progress(candidates, console) as (queries_done, pairs_done):
            for ranked in _ranked_blocks(candidates, settings):
                output.add(ranked)
                rows += ranked.num_rows
                finished = ranked.column("query_id").unique().to_pylist()
                queries_done(len(finished))
                pairs_done(sum(len(candidates.run[query_id]) for query_id in finished))
    except RayTaskError as error:
        raise _root(error) from error
    seconds = time.monotonic() - started
    report = BatchReport(
        queries=len(candidates.run),
        pairs=candidates.pairs,
        rows=rows,
        missing_queries=candidates.missing_queries,
        missing_passages=candidates.missing_passages,
        seconds=round(seconds, 3),
        pairs_per_s=round(candidates.pairs / seconds, 2),
    )
    output.finish({"version": version("dear-reranker"), **asdict(report), "settings": _plain(settings)})
    return report


def _ranked_blocks(candidates: Candidates, settings: BatchSettings) -> Iterator[Any]:
    """RANKED_ROWS, whole queries a block, in the order of the run."""
    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # our own bars say how far we are
    dataset: Dataset = ray.data.from_arrow(list(candidates.blocks()))
    encoded = dataset.map_batches(
        EncodeStage,
        fn_constructor_args=(settings.checkpoint,),
        batch_size=QUERIES_PER_BLOCK,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=1),
        num_cpus=0.25,
    )
    scored = encoded.map_batches(
        ScoreStage,
        fn_constructor_args=(settings.checkpoint, settings.engine, settings.top_k),
        batch_size=QUERIES_PER_BLOCK,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=settings.scorers),
        num_cpus=0.5,
        num_gpus=1 if settings.checkpoint.device.startswith("cuda") else None,
    )
    return iter(scored.iter_batches(batch_size=None, batch_format="pyarrow"))


@contextmanager
def _ray(address: str | None) -> Iterator[None]:
    """A Ray of our own, or the running cluster; one that the caller has started is used and left alone."""
    if ray.is_initialized():
        yield
        return
    ray.init(
        address or "local",
        include_dashboard=False if address is None else None,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _progress(candidates: Candidates, console: Console) -> Iterator[tuple[Any, Any]]:
    """Two bars; yields what to call with the number of queries and of pairs just done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        queries = progress.add_task("queries", total=len(candidates.run))
        pairs = progress.add_task("pairs", total=candidates.pairs)
        yield lambda n: progress.advance(queries, n), lambda n: progress.advance(pairs, n)


def _root(error: BaseException) -> BaseException:
    """Our own error inside what Ray wrapped around it; else the innermost one."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
        if isinstance(error, RerankerError):
            return error
    return error


def _plain(settings: BatchSettings) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude={"output", "address"})
