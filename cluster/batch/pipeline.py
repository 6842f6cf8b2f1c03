"""The graph of the offline road: unit numbers -> texts -> tokens -> rankings, as one Ray Data stream.

Encoders and scorers are actor pools of their own, so that neither waits for the other. The order in which units come
out does not matter, so a slow one holds up nobody.
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

# An actor that dies is started again this often, so a unit that kills its actor ends the job. How often a unit may be
# tried is not bounded: until a lost node is known to be dead, each second costs one try of what was sent there.
_ACTOR_RESTARTS = 5
ENCODER_CPUS = 0.25
SCORER_CPUS = 0.5  # its threads are the engine's; a share, so that a laptop with one core can run the graph
_READERS = 2
# Forwards run in a thread of their own, whose own heap would give memory back between passes and fault it in again.
_SCORER_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}


def scored_units(plan: Plan, units: Sequence[int], settings: BatchSettings) -> Iterator[ScoredUnit]:
    """These units of the plan, scored, in the order in which they are done. Needs a Ray session.

    Raises RayError when an actor fails for good; CheckpointError's text is inside.
    """
    context = DataContext.get_current()
    context.execution_options.preserve_order = False
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # our own bars say how far we are; errors are raised
    with warnings.catch_warnings():
        # Ray 2.64 will name the arguments that bound retries; until then this is how they are given.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        scored = _graph(plan, units, settings)
    blocks = scored.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    for rows in cast(Iterator[pa.Table], blocks):
        for number in range(rows.num_rows):
            yield ScoredUnit.from_row(rows.slice(number, 1))


def _graph(plan: Plan, units: Sequence[int], settings: BatchSettings) -> Dataset:
    one_unit: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow"}
    most = scorers(settings)
    return (
        ray.data.from_arrow([pa.table({"unit": [unit]}) for unit in units])
        .map_batches(
            partial(read_stage, plan=str(plan.directory.resolve())),
            compute=TaskPoolStrategy(size=_READERS),
            num_cpus=0,  # it waits for the disk, and must not wait for actors that hold every CPU
            label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
            **one_unit,
        )
        .map_batches(
            EncodeStage,
            fn_constructor_args=(settings.checkpoint,),
            compute=ActorPoolStrategy(min_size=1, max_size=encoders(settings)),
            num_cpus=ENCODER_CPUS,
            ray_remote_args_fn=_retries,
            **one_unit,
        )
        .map_batches(
            ScoreStage,
            fn_constructor_args=(settings.checkpoint, settings.engine, settings.top_k),
            compute=ActorPoolStrategy(min_size=1, max_size=most, initial_size=most),
            num_cpus=SCORER_CPUS,
            num_gpus=1 if needs_gpu(settings) else None,
            runtime_env={"env_vars": _SCORER_ENVIRONMENT},
            ray_remote_args_fn=_retries,
            **one_unit,
        )
    )


def needs_gpu(settings: BatchSettings) -> bool:
    """Whether a scorer takes a GPU: where one is asked for, or left open and the cluster has some."""
    device = settings.checkpoint.device
    if settings.engine.simulated_tokens_per_s is not None:
        return False
    return device.startswith("cuda") or (device == "auto" and _gpus() > 0)


def scorers(settings: BatchSettings) -> int:
    """The most scorers there will be."""
    return settings.scorers or (max(1, _gpus()) if needs_gpu(settings) else 1)


def encoders(settings: BatchSettings) -> int:
    """The most encoders there will be: a core tokenizes as fast as eight large GPUs score with an 8B."""
    return settings.encoders or -(-scorers(settings) // 8)


def _retries() -> dict[str, Any]:
    return {"max_restarts": _ACTOR_RESTARTS, "max_task_retries": -1}


def _gpus() -> int:
    return int(ray.cluster_resources().get("GPU", 0))
