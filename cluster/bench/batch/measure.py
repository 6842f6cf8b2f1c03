"""Three questions about the batch job: what does it cost beside the engine, does its memory grow, does it scale?"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.batch.plan import make_plan, read_unit
from cluster.batch.settings import BatchSettings
from cluster.batch.stages.encode import encode_unit
from cluster.bench.batch.inputs import CANDIDATES, Inputs, collection_inputs, large_inputs, realistic_inputs
from cluster.bench.batch.processes import Memory, MemoryWatch
from cluster.bench.machine import machine_facts
from reranker.errors import Unavailable
from reranker.fidelity import load_verified
from reranker.settings import CheckpointSettings, EngineSettings

# A GPU that reads this many tokens a second does 400 pairs of MS MARCO's length: what an 8B does on a large one.
SIMULATED_TOKENS_PER_S = 40_000.0
_UNIT_OF_A_SECOND = 400
_UNITS_A_SCORER = 10
_NO_TIME = 1e15


@dataclass(frozen=True, slots=True)
class BatchBenchSettings:
    """rows: sizes of the memory part. scorers: pool sizes of the scaling part; an empty list leaves a part out."""

    model: str = "embedded"
    dtype: str = "auto"
    collection: Path | None = None
    depth: int | None = 100
    rounds: int = 3
    rows: Sequence[int] = (10_000, 100_000, 1_000_000)
    scorers: Sequence[int] = (1, 2, 4, 8)


def measure_batch(settings: BatchBenchSettings, console: Console) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="rr-bench-") as scratch:
        result: dict[str, Any] = {"machine": machine_facts("cpu")}
        if settings.rounds:
            result["throughput"] = _throughput(settings, Path(scratch, "throughput"), console)
        result["memory"] = [_memory(rows, Path(scratch, f"rows-{rows}"), console) for rows in settings.rows]
        result["scaling"] = _scaling(settings.scorers, Path(scratch, "scaling"), console)
    return result


def _throughput(settings: BatchBenchSettings, scratch: Path, console: Console) -> dict[str, Any]:
    """The engine alone and the job, in turns, over the same units: pairs a second of each once warm."""
    scratch.mkdir()
    if settings.collection is None:
        inputs = realistic_inputs(scratch, queries=40, candidates=settings.depth or 100)
    else:
        inputs = collection_inputs(settings.collection)
    job = BatchSettings.model_validate(
        {
            **inputs,
            "output": scratch / "job",
            "depth": settings.depth,
            "unit_pairs": 500,
            "checkpoint": {"model": settings.model, "dtype": settings.dtype},
        }
    )
    rounds = []
    cores = len(os.sched_getaffinity(0))
    for number in range(settings.rounds):
        console.print(f"throughput, round {number + 1} of {settings.rounds}")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own_process:
            engine = own_process.submit(engine_pairs_per_s, job, scratch / "plan").result()
        report, _ = _run(job.model_copy(update={"output": scratch / f"job-{number}"}), cpus=cores)
        run = report["this_run"]
        rounds.append(
            {
                "engine_pairs_per_s": engine,
                "job_pairs_per_s": run["steady_pairs_per_s"],
                "ratio": run["steady_pairs_per_s"] / engine,
                "engine_share": run["engine_share"],
                "whole_job_pairs_per_s": run["pairs_per_s"],
            }
        )
    keys = rounds[0].keys()
    return {
        "model": settings.model,
        "pairs": report["pairs"],
        **{key: statistics.median(one[key] for one in rounds) for key in keys},
        "rounds": rounds,
    }


def engine_pairs_per_s(settings: BatchSettings, plan_directory: Path) -> float:
    """The engine over all units of the job, tokenized beforehand, after one for warming up."""
    plan = make_plan(settings, plan_directory, lambda _: None)
    loaded = load_verified(settings.checkpoint, settings.engine)
    units = []
    for number in range(len(plan)):
        unit = read_unit(str(plan_directory), number)
        units.append(encode_unit(loaded.encoder, unit.queries, unit.counts, unit.titles, unit.texts)[0])
    loaded.engine.score(units[0])
    started = time.monotonic()
    for pairs in units[1:]:
        loaded.engine.clear_cache()
        loaded.engine.score(pairs)
    return int(plan.pairs[1:].sum()) / (time.monotonic() - started)


def _memory(rows: int, scratch: Path, console: Console) -> dict[str, Any]:
    """A job whose scorer takes no time, so that all the rest is under the most pressure."""
    scratch.mkdir()
    console.print(f"memory, {rows:,} rows over as many passages: making the input")
    inputs = large_inputs(scratch, rows)
    console.print(f"memory, {rows:,} rows: running the job")
    report, memory = _run(_simulated(inputs, scratch / "job", _NO_TIME, scorers=1, unit_pairs=2_000), cpus=4)
    run = report["this_run"]
    return {
        "rows": rows,
        "corpus_bytes": Path(inputs["corpus"]).stat().st_size,
        "seconds": run["seconds"],
        "plan_seconds": run["stage_seconds"]["plan"],
        "steady_pairs_per_s": run["steady_pairs_per_s"],
        "steady_bytes": memory.steady,
        "peak_bytes": memory.peak,
    }


def _scaling(pools: Sequence[int], scratch: Path, console: Console) -> list[dict[str, Any]]:
    """More scorers, more work: each has the same number of units, of a second each."""
    scratch.mkdir()
    results: list[dict[str, Any]] = []
    for scorers in pools:
        console.print(f"scaling, {scorers} scorers")
        rows = scorers * _UNITS_A_SCORER * CANDIDATES  # a query of which, cut at its depth, is a unit
        directory = scratch / str(scorers)
        directory.mkdir()
        inputs = large_inputs(directory, rows)
        job = _simulated(inputs, directory / "job", SIMULATED_TOKENS_PER_S, scorers, _UNIT_OF_A_SECOND)
        report, _ = _run(job.model_copy(update={"depth": _UNIT_OF_A_SECOND}), cpus=16)
        run = report["this_run"]
        results.append({"scorers": scorers, "pairs_per_s": run["steady_pairs_per_s"], "busy": run["engine_share"]})
        results[-1]["efficiency"] = results[-1]["pairs_per_s"] / (scorers * results[0]["pairs_per_s"] / pools[0])
    return results


def _simulated(inputs: Inputs, output: Path, tokens_per_s: float, scorers: int, unit_pairs: int) -> BatchSettings:
    return BatchSettings(
        **inputs,
        output=output,
        scorers=scorers,
        unit_pairs=unit_pairs,
        checkpoint=CheckpointSettings(device="cpu"),
        engine=EngineSettings(simulated_tokens_per_s=tokens_per_s),
    )


def _run(job: BatchSettings, cpus: int) -> tuple[dict[str, Any], Memory]:
    """Run a job in a process of its own. Raises Unavailable with the end of what it said."""
    command = [sys.executable, "-m", "cluster.bench.batch.driver", str(cpus)]
    process = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    watch = MemoryWatch(process.pid)
    watch.start()
    _, complaints = process.communicate(job.model_dump_json())
    memory = watch.stop()
    if process.returncode:
        raise Unavailable(f"the job ended with code {process.returncode}: {complaints.strip()[-500:]}")
    return json.loads((job.output / "report.json").read_bytes()), memory
