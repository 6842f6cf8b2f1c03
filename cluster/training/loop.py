"""One worker's run: steps, evaluations, checkpoints to resume from, and the trained model at the end.

Knows nothing of Ray: `Worker` says who this worker is and takes what it reports, so that one process runs the same
loop as a cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from cluster.training.data.training_set import read_training_set
from cluster.training.feed import Sampler
from cluster.training.held_out import HeldOut, ndcg, read_held_out, scored_share
from cluster.training.results.output import CURVE, MODEL, Curve, CurveRow, collect_model, save_model
from cluster.training.results.saving import saving
from cluster.training.student import load_student
from cluster.training.teachers.targets import with_targets
from reranker.engine.engine import choose_dtype
from reranker.errors import TrainingFailed
from reranker.pairs import FloatArray
from reranker.training.batches import EncodedGroup
from reranker.training.packed import PackedStudent
from reranker.training.settings import TrainingSettings
from reranker.training.trainer import Trainer

STATE = "state.pt"
SAVED_DTYPE = torch.bfloat16


class Worker(Protocol):
    """This worker's place in the run, and where its reports go."""

    rank: int
    workers: int
    device: torch.device

    def begin(self, steps: int) -> None:
        """The data are read; the run has this many steps."""

    def wrap(self, student: PackedStudent, dtype: torch.dtype) -> nn.Module:
        """What runs its forward, with matrix products in `dtype`: the student itself, or what distributes it."""

    def feed(self, sampler: Sampler, first: int) -> Iterator[list[EncodedGroup]]:
        """Groups of the steps from `first` on."""

    def restored(self) -> Path | None:
        """Directory of the checkpoint that this run resumes from."""

    def gather(self, mine: list[FloatArray]) -> Sequence[list[FloatArray]]:
        """The arrays of all workers, by rank."""

    def report(self, row: CurveRow, save: Callable[[Path], None] | None) -> None:
        """Progress; `save` writes a checkpoint to a directory where one is due."""


def run(settings: TrainingSettings, worker: Worker) -> None:
    """Train, and write `model/`, a Hugging Face checkpoint, and curve.csv under the output directory.

    Raises TrainingFailed where the run cannot go on; the best weights so far are then in `model/`.
    """
    data = read_training_set(Path(settings.data))
    student, encoder, tokenizer = load_student(settings.student, settings.step.seed)
    sampler = Sampler(settings, data, with_targets(settings, data), encoder, worker.rank, worker.workers)
    worker.begin(sampler.steps)
    held = None
    if settings.evaluation.collection is not None:
        held = read_held_out(Path(settings.evaluation.collection), settings.evaluation.depth, encoder)
    student.to(worker.device)
    dtype = _dtype(settings, worker.device)
    trainer = Trainer(
        student,
        settings.step,
        settings.loss,
        sampler.steps,
        device=worker.device,
        dtype=dtype,
        wrapped=worker.wrap(student, dtype),
    )
    output = Path(settings.output)
    best, worse = -1.0, 0
    if (restored := worker.restored()) is not None:
        state = torch.load(restored / STATE, map_location=worker.device, weights_only=True)
        trainer.load_state_dict(state["trainer"])
        best, worse = state["best"], state["worse"]
    curve = Curve(output / CURVE, trainer.step) if worker.rank == 0 else None
    started, before = time.monotonic(), curve.rows[-1].minutes if curve and curve.rows else 0.0

    def save() -> None:
        module, weights = collect_model(student, SAVED_DTYPE)
        if worker.rank == 0:
            save_model(output / MODEL, module, weights, tokenizer, SAVED_DTYPE)

    for groups in worker.feed(sampler, trainer.step):
        at = time.monotonic()
        try:
            step = trainer.train_step(groups)
        except TrainingFailed as error:
            if best < 0 and trainer.step:
                save()
            raise TrainingFailed(f"{error}. {_kept(output, best, trainer.step)}") from None
        seconds = time.monotonic() - at
        value: float | None = None
        if held is not None and (step.step % settings.evaluation.every_steps == 0 or step.step == sampler.steps):
            with trainer.averaged():
                value = _evaluate(held, trainer, worker)
                worse = 0 if value > best else worse + 1
                if value > best:
                    best = value
                    save()
        row = CurveRow(
            step.step,
            before + (time.monotonic() - started) / 60,
            step.loss,
            step.learning_rate,
            step.gradient_norm,
            step.tokens * worker.workers / max(seconds, 1e-9),
            value,
        )
        if curve is not None:
            curve.add(row)
        due = step.step % settings.checkpoint_every_steps == 0 and step.step < sampler.steps
        worker.report(row, _saver({"trainer": trainer.state_dict(), "best": best, "worse": worse}) if due else None)
        if settings.evaluation.patience is not None and worse >= settings.evaluation.patience:
            break
    if held is None:
        with trainer.averaged():
            save()


def _kept(output: Path, best: float, step: int) -> str:
    """What is left of a run that fails."""
    if best >= 0:
        return f"The best weights so far are in {output / MODEL}"
    return f"The weights of step {step} are in {output / MODEL}" if step else "Nothing was trained"


def _saver(state: dict[str, Any]) -> Callable[[Path], None]:
    def save(directory: Path) -> None:
        with saving(directory / STATE):
            torch.save(state, directory / STATE)

    return save


def _evaluate(held: HeldOut, trainer: Trainer, worker: Worker) -> float:
    return ndcg(held, worker.gather(scored_share(held, trainer, worker.rank, worker.workers)))


def _dtype(settings: TrainingSettings, device: torch.device) -> torch.dtype:
    if settings.dtype == "auto":
        return choose_dtype("auto", torch.bfloat16, str(device))
    return getattr(torch, settings.dtype)  # type: ignore[no-any-return]
