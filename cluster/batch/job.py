"""The offline road: candidate rows -> encode -> score -> parquet, a TREC run, `_SUCCESS`.

Encoders and scorers are actor pools of their own, so that neither waits for the other. The driver writes: results
are small, and a cluster then needs no shared disk.
"""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, cast

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.exceptions import RayError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cluster.batch.output import BatchOutput, refuse_used
from cluster.batch.rows import QUERIES_PER_BLOCK, Candidates, read_candidates
from cluster.batch.settings import BatchSettings
from cluster.batch.stages import EncodeStage, ScoreStage
from reranker import errors
from reranker.checkpoint import load_encoder


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
    refuse_used(settings.output)
    with console.status("reading queries, corpus and run …"):
        candidates = read_candidates(settings)
    load_encoder(settings.checkpoint)  # refuse a wrong checkpoint before Ray starts
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
    except RayError as error:
        ours = _ours(error)
        if ours is None:
            raise
        raise ours from error
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
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # our own bars say how far we are; errors are raised
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
    """A Ray of our own, or the running cluster; one that the caller has started is used and left alone.

    Raises Unavailable when no cluster answers.
    """
    if ray.is_initialized():
        yield
        return
    try:
        _knock(address)
        ray.init(
            address or "local",
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except OSError as error:
        if address is None:
            raise
        raise errors.Unavailable(f"no Ray cluster answers at --address {address}: {error}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Raises OSError when nothing listens at host:port; Ray itself would try for a quarter of an hour."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=5).close()


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


def _ours(error: RayError) -> errors.RerankerError | None:
    """Our own error inside what Ray wrapped around it, of which it keeps the text only."""
    lines = re.findall(rf"^{errors.__name__}\.(\w+): (.+)$", str(error), re.MULTILINE)
    if not lines:
        return None
    name, message = lines[-1]
    # The nearest class that is made from a message alone: CheckpointError itself, ServiceError for NonFiniteLogit.
    kind = next(kind for kind in getattr(errors, name).__mro__ if "__init__" not in vars(kind))
    return cast(errors.RerankerError, kind(message))


def _plain(settings: BatchSettings) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude={"output", "address"})
