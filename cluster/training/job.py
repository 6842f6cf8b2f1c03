"""The run as a job of Ray Train: workers share every step; when one is lost, all go back to the last checkpoint.

Checkpoints go to `ray/` under the output directory, which all workers must reach: on several machines it is on a
shared disk. Errors of ours come back through `ray/failures/`, because Ray takes any exception for a lost worker and
tries again.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from rich.console import Console
from torch import distributed, nn

from cluster.batch.session import ray_session
from cluster.training.feed import Sampler, steps_ahead
from cluster.training.loop import run
from cluster.training.ray_feed import steps_from_ray_data
from cluster.training.results.output import CURVE, CurveRow
from cluster.training.results.progress import CurveFollower, RunProgress
from cluster.training.settings import RunSettings
from cluster.training.wrapping import wrapped
from reranker.errors import RerankerError, ServiceError, TrainingFailed
from reranker.pairs import FloatArray
from reranker.training.batches import EncodedGroup
from reranker.training.packed import PackedStudent

NAME = "ray"
_FAILURES = "failures"
_CHECKPOINTS_KEPT = 2


class RayWorker:
    """See Worker. Exists in a worker of Ray Train, whose process group is initialised."""

    def __init__(self, settings: RunSettings) -> None:
        context = ray.train.get_context()
        self.rank, self.workers = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        self._settings = settings

    def begin(self, steps: int) -> None:
        """The driver shows no total where the settings give epochs."""

    def wrap(self, student: PackedStudent, dtype: torch.dtype) -> nn.Module:
        return wrapped(student, self._settings.sharding, self.device, dtype)

    def feed(self, sampler: Sampler, first: int) -> Iterator[list[EncodedGroup]]:
        if self._settings.feed == "threads":
            return steps_ahead(sampler, first)
        return steps_from_ray_data(self._settings, self.rank, self.workers, first, sampler.steps)

    def restored(self) -> Path | None:
        checkpoint = ray.train.get_checkpoint()
        return None if checkpoint is None else Path(checkpoint.to_directory())

    def gather(self, mine: list[FloatArray]) -> Sequence[list[FloatArray]]:
        shares: list[Any] = [None] * self.workers
        distributed.all_gather_object(shares, mine)
        return shares

    def report(self, row: CurveRow, save: Callable[[Path], None] | None) -> None:
        """Ray's report is a barrier of all workers, so only checkpoints are reported; rank 0 wrote curve.csv."""
        if save is None:
            return
        if self.rank > 0:
            ray.train.report({"step": row.step})
            return
        with tempfile.TemporaryDirectory(prefix="checkpoint-") as directory:
            save(Path(directory))
            ray.train.report({"step": row.step}, checkpoint=Checkpoint.from_directory(directory))


def run_on_ray(settings: RunSettings, progress: RunProgress, console: Console) -> None:
    """Run the job until its model is written. Raises what `run` raises, and Unavailable where Ray gives up."""
    output = Path(settings.output)
    failures = output / NAME / _FAILURES
    shutil.rmtree(failures, ignore_errors=True)
    failures.mkdir(parents=True)
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)  # errors are raised, and workers have log files
    with ray_session(settings.address), progress, CurveFollower(output / CURVE, progress):
        progress.begin(settings.step.steps)
        try:
            _trainer(settings).fit()
        except ray.train.TrainingFailedError as error:
            _raise_own(failures)
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise TrainingFailed(
                f"Ray Train gave up after {settings.max_failures} lost workers ({lines[-1][:300]}). The last "
                f"checkpoint is kept in {output / NAME}: continue with --resume"
            ) from error
    _raise_own(failures)


def _trainer(settings: RunSettings) -> TorchTrainer:
    cpus = settings.cpus_per_worker
    return TorchTrainer(
        _train,
        train_loop_config={"settings": settings.model_dump(mode="json")},
        torch_config=ray.train.torch.TorchConfig(backend="nccl" if settings.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=settings.workers,  # type: ignore[arg-type]  # Ray takes (min, max)
            use_gpu=settings.use_gpu,
            resources_per_worker={"CPU": cpus, **({"GPU": 1} if settings.use_gpu else {})},
        ),
        run_config=RunConfig(
            name=NAME,
            storage_path=settings.output,
            failure_config=FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=_CHECKPOINTS_KEPT),
        ),
    )


def _train(config: dict[str, Any]) -> None:
    """What every worker runs."""
    settings = RunSettings.model_validate(config["settings"])
    worker = RayWorker(settings)
    if not settings.use_gpu:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // worker.workers))
    try:
        run(settings, worker)
    except ServiceError:
        raise  # trying again may help
    except RerankerError as error:
        path = Path(settings.output, NAME, _FAILURES, f"{worker.rank}.pickle")
        path.write_bytes(pickle.dumps(error))


def _raise_own(failures: Path) -> None:
    for path in sorted(failures.glob("*.pickle")):
        error: RerankerError = pickle.loads(path.read_bytes())  # noqa: S301 - our own workers wrote it
        raise error
