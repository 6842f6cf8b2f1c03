"""What does the batch job cost compared with the engine alone? Does its memory grow? Does it scale?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.batch.plan import make_plan, read_unit
from cluster.batch.settings import BatchSettings
from cluster.batch.stages.encode import encode_unit
from cluster.bench import SIMULATED_TOKENS_PER_S
from cluster.bench.batch.inputs import CANDIDATES, Inputs, collection_inputs, large_inputs, realistic_inputs
from cluster.bench.batch.memory import Memory, MemoryWatch, summarize
from cluster.bench.batch.report import print_batch
from cluster.bench.batch.settings import BatchBenchSettings
from cluster.bench.machine import machine_facts
from cluster.bench.report import Figures, medians
from reranker.errors import InvalidField, Unavailable
from reranker.fidelity import load_verified
from reranker.settings import CheckpointSettings, EngineSettings

_PAIRS_PER_SECOND = 400
_UNITS_PER_SCORER = 10
_INSTANT_TOKENS_PER_S = 1e15
_QUERIES, _UNIT_PAIRS = 40, 500


def measure_batch(settings: BatchBenchSettings, console: Console) -> Figures:
    """Raises InvalidField when the throughput part has too few pairs, Unavailable when a job fails."""
    with tempfile.TemporaryDirectory(prefix="rr-bench-") as scratch:
        result: dict[str, Any] = {"machine": machine_facts("cpu")}
        if settings.rounds:
            result["throughput"] = _throughput(settings, Path(scratch, "throughput"), console)
        result["memory"] = [_memory(rows, Path(scratch, f"rows-{rows}"), console) for rows in settings.rows]
        result["scaling"] = _scaling(settings.scorers, Path(scratch, "scaling"), console)
    print_batch(result, console)
    return result


def _throughput(settings: BatchBenchSettings, scratch: Path, console: Console) -> Figures:
    """Pairs/s of the engine alone and of the job once warm, on the same units, measured alternately."""
    scratch.mkdir()
    if settings.collection is None:
        inputs = realistic_inputs(scratch, queries=_QUERIES, candidates=settings.depth)
    else:
        inputs = collection_inputs(settings.collection)
    job = BatchSettings.model_validate(
        {
            **inputs,
            "output": scratch / "job",
            "depth": settings.depth,
            "unit_pairs": _UNIT_PAIRS,
            "checkpoint": settings.checkpoint,
        }
    )
    rounds = []
    cores = len(os.sched_getaffinity(0))
    for number in range(settings.rounds):
        console.print(f"throughput, round {number + 1} of {settings.rounds}")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            engine = pool.submit(engine_pairs_per_s, job, scratch / "plan").result()
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
    return {"model": settings.checkpoint.model, "pairs": report["pairs"], **medians(rounds), "rounds": rounds}


def engine_pairs_per_s(job: BatchSettings, plan_directory: Path) -> float:
    """Pairs/s of the engine on all units of the job but the first, which warms it up; tokenizing is not timed.

    Raises InvalidField when the job has a single unit.
    """
    plan = make_plan(job, plan_directory, lambda _: None)
    if len(plan) < 2:
        raise InvalidField(
            "--depth",
            f"the first {job.unit_pairs} pairs only warm up, and there are {int(plan.pairs.sum())}: choose a larger "
            "--depth, or a --collection with more candidates",
        )
    loaded = load_verified(job.checkpoint, job.engine)
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


def _memory(rows: int, scratch: Path, console: Console) -> Figures:
    """A job whose simulated scorer takes no time, which is the hardest case for all other stages."""
    scratch.mkdir()
    console.print(f"memory: creating {rows:,} rows over as many passages")
    inputs = large_inputs(scratch, rows)
    console.print(f"memory: running the job on {rows:,} rows")
    job = _simulated(inputs, scratch / "job", _INSTANT_TOKENS_PER_S, scorers=1, unit_pairs=2_000)
    report, memory = _run(job, cpus=4)
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


def _scaling(pools: Sequence[int], scratch: Path, console: Console) -> list[Figures]:
    """Weak scaling: each scorer has the same number of units, each worth a second."""
    scratch.mkdir()
    results: list[Figures] = []
    for scorers in pools:
        console.print(f"scaling: {scorers} scorers")
        rows = scorers * _UNITS_PER_SCORER * CANDIDATES  # a query's first candidates, up to the depth, are a unit
        directory = scratch / str(scorers)
        directory.mkdir()
        inputs = large_inputs(directory, rows)
        job = _simulated(inputs, directory / "job", SIMULATED_TOKENS_PER_S, scorers, _PAIRS_PER_SECOND)
        report, _ = _run(job.model_copy(update={"depth": _PAIRS_PER_SECOND}), cpus=16)
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


def _run(job: BatchSettings, cpus: int) -> tuple[Figures, Memory]:
    """Run a job in its own process; its report, and the memory it used. Raises Unavailable with its last output."""
    command = [sys.executable, "-m", "cluster.bench.batch.driver", str(cpus)]
    process = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with MemoryWatch(process.pid) as watch:
        _, stderr = process.communicate(job.model_dump_json())
    if process.returncode:
        raise Unavailable(f"the job exited with code {process.returncode}: {stderr.strip()[-500:]}")
    return json.loads((Path(job.output) / "report.json").read_bytes()), summarize(watch.samples)
