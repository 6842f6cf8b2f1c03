"""The Ray Data graph of the job: unit numbers -> texts -> tokens -> rankings, as one stream.

Encoders and scorers are separate actor pools, so that tokenizing overlaps scoring. Units may finish in any order, so
that a slow one does not block others.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, TaskPoolStrategy
from ray.util.annotations import RayDeprecationWarning

from cluster.batch.plan import Plan
from cluster.batch.scored import ScoredUnit
from cluster.batch.settings import BatchSettings
from cluster.batch.stages.encode import EncodeStage
from cluster.batch.stages.read import read_stage
from cluster.batch.stages.score import ScoreStage
from reranker.checkpoints.files import from_anywhere

# Restarts are bounded, so that a unit that crashes its actor ends the job. Retries of a unit are not: until Ray
# declares a lost node dead, each unit that was sent there uses up one retry per second.
_MAX_ACTOR_RESTARTS = 5
ENCODER_CPUS = 0.25
SCORER_CPUS = 0.5  # for scheduling only: the engine sets its own threads, and a one-core laptop must fit the graph
_READERS = 2
# Forward passes run in a thread, whose own malloc arena would return memory after each pass and fault it in again.
_SCORER_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}


def scored_units(plan: Plan, units: Sequence[int], settings: BatchSettings) -> Iterator[ScoredUnit]:
    """Score these units of the plan and yield them as they finish, in any order. Needs a Ray session.

    Raises RayError when an actor has failed for good; a CheckpointError of ours is wrapped in it as text.
    """
    context = DataContext.get_current()
    context.execution_options.preserve_order = False
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # we have our own progress bars, and errors are raised
    with warnings.catch_warnings():
        # ray_remote_args_fn will be removed in Ray 2.64, but map_batches has no named argument for max_restarts yet.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        scored = _graph(plan, units, settings)
    blocks = scored.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    for rows in cast(Iterator[pa.Table], blocks):
        for number in range(rows.num_rows):
            yield ScoredUnit.from_row(rows.slice(number, 1))


def _graph(plan: Plan, units: Sequence[int], settings: BatchSettings) -> Dataset:
    one_unit: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow"}
    pool = scorers(settings)
    checkpoint = from_anywhere(settings.checkpoint)
    return (
        ray.data.from_arrow([pa.table({"unit": [unit]}) for unit in units])
        .map_batches(
            partial(read_stage, plan=str(plan.directory.resolve())),
            compute=TaskPoolStrategy(size=_READERS),
            num_cpus=0,  # it is bound by the disk, and must run even if actors hold every CPU
            label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
            **one_unit,
        )
        .map_batches(
            EncodeStage,
            fn_constructor_args=(checkpoint,),
            compute=ActorPoolStrategy(min_size=1, max_size=encoders(settings)),
            num_cpus=ENCODER_CPUS,
            ray_remote_args_fn=_retries,
            **one_unit,
        )
        .map_batches(
            ScoreStage,
            fn_constructor_args=(checkpoint, settings.engine, settings.top_k),
            compute=ActorPoolStrategy(min_size=1, max_size=pool, initial_size=pool),
            num_cpus=SCORER_CPUS,
            num_gpus=1 if needs_gpu(settings) else None,
            runtime_env={"env_vars": _SCORER_ENVIRONMENT},
            ray_remote_args_fn=_retries,
            **one_unit,
        )
    )


def needs_gpu(settings: BatchSettings) -> bool:
    """Whether a scorer takes a GPU: if the device is CUDA, or "auto" and the cluster has GPUs."""
    device = settings.checkpoint.device
    if settings.engine.simulated_tokens_per_s is not None:
        return False
    return device.startswith("cuda") or (device == "auto" and _gpus() > 0)


def scorers(settings: BatchSettings) -> int:
    """Max number of scorers: as set, else one per GPU of the cluster, or one on CPUs."""
    return settings.scorers or (max(1, _gpus()) if needs_gpu(settings) else 1)


def encoders(settings: BatchSettings) -> int:
    """Max number of encoders: as set, else one per eight scorers, as one core tokenizes for eight GPUs with an 8B."""
    return settings.encoders or -(-scorers(settings) // 8)


def _retries() -> dict[str, Any]:
    return {"max_restarts": _MAX_ACTOR_RESTARTS, "max_task_retries": -1}


def _gpus() -> int:
    return int(ray.cluster_resources().get("GPU", 0))
