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
from cluster.training.output import CURVE, MODEL, Curve, CurveRow, save_model
from cluster.training.student import load_student
from cluster.training.teachers import read_teacher, teacher_path
from reranker.engine.engine import choose_dtype
from reranker.pairs import FloatArray
from reranker.training.batches import EncodedGroup
from reranker.training.groups import Groups
from reranker.training.settings import TrainingSettings
from reranker.training.teacher import FIRST_STAGE, targets
from reranker.training.trainer import Trainer

STATE = "state.pt"


class Worker(Protocol):
    """This worker's place in the run, and where its reports go."""

    rank: int
    workers: int
    device: torch.device

    def wrap(self, student: nn.Module) -> nn.Module:
        """What runs its forward: the student itself, or what distributes it."""

    def feed(self, sampler: Sampler, first: int) -> Iterator[list[EncodedGroup]]:
        """Groups of the steps from `first` on."""

    def restored(self) -> Path | None:
        """Directory of the checkpoint that this run resumes from."""

    def gather(self, mine: list[FloatArray]) -> Sequence[list[FloatArray]]:
        """The arrays of all workers, by rank."""

    def report(self, row: CurveRow, save: Callable[[Path], None] | None) -> None:
        """Progress; `save` writes a checkpoint to a directory where one is due."""


def run(settings: TrainingSettings, worker: Worker) -> None:
    """Train, and write `model/` and curve.csv under the output directory.

    Raises TrainingFailed where the run cannot go on; the best checkpoint so far stays in `model/`.
    """
    data = read_training_set(Path(settings.data))
    student, encoder, tokenizer = load_student(settings.student, settings.step.seed)
    sampler = Sampler(settings, data, with_targets(settings, data), encoder, worker.rank, worker.workers)
    held = None
    if settings.evaluation.collection is not None:
        held = read_held_out(Path(settings.evaluation.collection), settings.evaluation.depth, encoder)
    student.to(worker.device)
    trainer = Trainer(
        student,
        settings.step,
        settings.loss,
        sampler.steps,
        device=worker.device,
        dtype=_dtype(settings, worker.device),
        wrapped=worker.wrap(student),
    )
    output = Path(settings.output)
    best = -1.0
    worse = 0
    if (restored := worker.restored()) is not None:
        state = torch.load(restored / STATE, map_location=worker.device, weights_only=True)
        trainer.load_state_dict(state["trainer"])
        best, worse = state["best"], state["worse"]
    curve = Curve(output / CURVE, trainer.step) if worker.rank == 0 else None
    started, before = time.monotonic(), curve.rows[-1].minutes if curve and curve.rows else 0.0

    def save_best() -> None:
        if worker.rank == 0:
            save_model(output / MODEL, student, tokenizer, _saved_dtype(settings), {})

    for groups in worker.feed(sampler, trainer.step):
        at = time.monotonic()
        step = trainer.train_step(groups)
        value: float | None = None
        if held is not None and (step.step % settings.evaluation.every_steps == 0 or step.step == sampler.steps):
            with trainer.averaged():
                value = _evaluate(held, trainer, worker)
                worse = 0 if value > best else worse + 1
                if value > best:
                    best = value
                    save_best()
        row = CurveRow(
            step.step,
            before + (time.monotonic() - started) / 60,
            step.loss,
            step.learning_rate,
            step.gradient_norm,
            step.tokens * worker.workers / max(time.monotonic() - at, 1e-9),
            value,
        )
        if curve is not None:
            curve.add(row)
        due = step.step % settings.checkpoint_every_steps == 0 and step.step < sampler.steps
        state = {"best": best, "worse": worse}
        worker.report(row, (lambda directory, state=state: _save_state(directory, trainer, state)) if due else None)
        if settings.evaluation.patience is not None and worse >= settings.evaluation.patience:
            break
    if held is None:
        with trainer.averaged():
            save_best()


def with_targets(settings: TrainingSettings, data: Any) -> Groups:
    """The groups with the teachers' targets. Raises InvalidFile or InvalidField for a teacher that does not fit."""
    groups: Groups = data.groups
    weights = settings.teacher.weights
    if not weights:
        return groups
    scores = {
        name: read_teacher(teacher_path(Path(settings.data), name), data)[0]
        for name in weights
        if name != FIRST_STAGE
    }
    if FIRST_STAGE in weights:
        scores[FIRST_STAGE] = data.first_stage
    return Groups(groups.offsets, groups.passages, groups.labels, targets(groups, scores, settings.teacher))


def _evaluate(held: HeldOut, trainer: Trainer, worker: Worker) -> float:
    return ndcg(held, worker.gather(scored_share(held, trainer, worker.rank, worker.workers)))


def _save_state(directory: Path, trainer: Trainer, state: dict[str, Any]) -> None:
    torch.save({"trainer": trainer.state_dict(), **state}, directory / STATE)


def _dtype(settings: TrainingSettings, device: torch.device) -> torch.dtype:
    if settings.dtype == "auto":
        return choose_dtype("auto", torch.bfloat16, str(device))
    return getattr(torch, settings.dtype)  # type: ignore[no-any-return]


def _saved_dtype(settings: TrainingSettings) -> torch.dtype:
    return torch.bfloat16
