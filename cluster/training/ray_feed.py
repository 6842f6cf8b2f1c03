"""The groups of each step, encoded by an actor of Ray Data, which may run on another machine than the worker."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, DataContext

from cluster.training.data.training_set import read_training_set
from cluster.training.feed import Sampler
from cluster.training.settings import RunSettings
from cluster.training.student import load_encoder_of
from cluster.training.teachers.targets import with_targets
from reranker.training.batches import EncodedGroup

_STEPS_PER_BLOCK = 4
# Beside two workers of half a CPU, the encoders of both must fit a machine of two CPUs.
_ENCODER_CPUS = 0.1


def steps_from_ray_data(
    settings: RunSettings, rank: int, workers: int, first: int, steps: int
) -> Iterator[list[EncodedGroup]]:
    """Groups of the steps from `first` on, in order."""
    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    blocks = [
        pa.table({"step": range(start, min(start + _STEPS_PER_BLOCK, steps))})
        for start in range(first, steps, _STEPS_PER_BLOCK)
    ]
    if not blocks:
        return
    encoded = ray.data.from_arrow(blocks).map_batches(
        EncodeSteps,
        fn_constructor_args=(settings.model_dump(mode="json"), rank, workers),
        compute=ActorPoolStrategy(size=1),
        num_cpus=_ENCODER_CPUS,
        batch_size=None,
        batch_format="pyarrow",
    )
    for table in cast(
        Iterator[pa.Table], encoded.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)
    ):
        for row in table["groups"].to_pylist():
            yield pickle.loads(row)  # noqa: S301 - our own actor wrote it


class EncodeSteps:
    """Steps -> the encoded groups of one worker, pickled."""

    def __init__(self, settings: dict[str, Any], rank: int, workers: int) -> None:
        parsed = RunSettings.model_validate(settings)
        data = read_training_set(Path(parsed.data))
        encoder = load_encoder_of(parsed.student)
        self._sampler = Sampler(parsed, data, with_targets(parsed, data), encoder, rank, workers)

    def __call__(self, steps: pa.Table) -> pa.Table:
        numbers = steps["step"].to_pylist()
        groups = [pickle.dumps(self._sampler.groups_of(step)) for step in numbers]
        return pa.table({"step": numbers, "groups": pa.array(groups, pa.large_binary())})
