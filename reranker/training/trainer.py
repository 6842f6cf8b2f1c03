"""One worker's part of training: forward, backward, update.

Knows nothing of Ray or files. Where a process group is initialised, every step is shared by its workers, and gives
the same weights as one worker with all groups would, within rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from transformers import get_scheduler

from reranker.errors import TrainingFailed
from reranker.pairs import EncodedPairs, FloatArray
from reranker.training.averaging import MeanWeights
from reranker.training.batches import EncodedGroup, MicroBatch, micro_batches
from reranker.training.objective import objective
from reranker.training.packed import PackedStudent
from reranker.training.settings import LossSettings, StepSettings
from reranker.training.sharding import load_optimizer, load_student, reshard, whole


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step did. loss: mean over its queries. gradient_norm: before clipping. tokens: of this worker."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens: int


class Trainer:
    """Trains one student.

    student: a PackedStudent. wrapped: the same, or what distributes its forward (DistributedDataParallel, FSDP).
    dtype: of matrix products. steps: steps of the whole run, over which the learning rate falls.
    """

    def __init__(
        self,
        student: PackedStudent,
        step: StepSettings,
        loss: LossSettings,
        steps: int,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        wrapped: nn.Module | None = None,
    ) -> None:
        self.step = 0
        self.steps = steps
        self._student, self._wrapped = student, wrapped or student
        self._settings, self._loss = step, loss
        self._device, self._dtype = device, dtype
        self._parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
        if not self._parameters:
            raise TrainingFailed("no parameter is trained: `student.frozen` names all of them")
        self._optimizer = torch.optim.AdamW(
            _parameter_groups(student, step), lr=step.learning_rate, fused=device.type in ("cpu", "cuda")
        )
        self._schedule = get_scheduler(
            {"constant": "constant_with_warmup"}.get(step.decay, step.decay),
            self._optimizer,
            num_warmup_steps=min(step.warmup_steps, steps - 1),
            num_training_steps=steps,
        )
        self._mean = MeanWeights(self._parameters, first_step=steps - math.floor(step.average_last * steps))
        self._workers = distributed.get_world_size() if distributed.is_initialized() else 1

    def train_step(self, groups: Sequence[EncodedGroup]) -> StepReport:
        """Update the weights with this worker's groups of one step.

        Raises TrainingFailed before the update when the loss or the gradient is not finite, or a micro-batch does not
        fit the memory: the weights and the optimizer are then those of the step before.
        """
        self._wrapped.train()
        batches = micro_batches(groups, self._settings.micro_batch_tokens)
        share = self._workers / self._settings.queries_per_step  # workers' gradients are averaged
        total = torch.zeros((), device=self._device)
        rounds = self._most(len(batches))
        try:
            for number in range(rounds):
                batch = batches[min(number, len(batches) - 1)]
                with self._no_sync(last=number == rounds - 1):
                    loss = self._losses(batch).sum() * (share if number < len(batches) else 0.0)
                    loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            self._optimizer.zero_grad(set_to_none=True)
            raise TrainingFailed(
                f"step {self.step + 1}: {int(batch.pairs.lengths.sum())} tokens at once do not fit the memory of "
                f"{self._device}: lower step.micro_batch_tokens, or, for a group of more, step.negatives or "
                "student.max_pair_tokens, or set student.gradient_checkpointing"
            ) from None
        norm = nn.utils.clip_grad_norm_(self._parameters, self._settings.clip_norm)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # a DTensor under FSDP
        loss_value, norm_value = self._mean_over_workers(total).item(), float(norm)
        if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
            self._optimizer.zero_grad(set_to_none=True)
            raise TrainingFailed(
                f"step {self.step + 1}: the loss is {loss_value} and its gradient's norm {norm_value}: lower the "
                "learning rate, or look for scores out of range in the teacher"
            )
        learning_rate = self._schedule.get_last_lr()[0]
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._schedule.step()
        self.step += 1
        self._mean.add(self.step)
        return StepReport(self.step, loss_value, learning_rate, norm_value, sum(group.tokens for group in groups))

    @torch.no_grad()
    def score(self, parts: Sequence[EncodedPairs]) -> list[FloatArray]:
        """Logits of each part, float32 (pairs,), a part in one forward. Every worker passes its own parts."""
        self._wrapped.eval()
        rounds = self._most(len(parts))
        scored = []
        for number in range(rounds):
            logits = self._forward(parts[min(number, len(parts) - 1)])
            if number < len(parts):
                scored.append(logits.float().cpu().numpy())
        reshard(self._student)
        return scored

    def averaged(self) -> Any:
        """Context in which the weights are the mean over the last part of the run, if the settings ask for one."""
        return self._mean.applied()

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs: with the same groups it continues as if it had not stopped.

        Where workers share the weights, every worker calls this at the same time.
        """
        return {
            "step": self.step,
            "student": whole(self._student.state_dict()),
            "optimizer": whole(self._optimizer.state_dict()),
            "schedule": self._schedule.state_dict(),
            "mean": whole(self._mean.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        load_student(self._student, state["student"])
        load_optimizer(self._optimizer, state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._mean.load_state_dict(state["mean"])

    def _losses(self, batch: MicroBatch) -> Tensor:
        """Loss of each query of a micro-batch, (queries,)."""
        logits = self._forward(batch.pairs).float()
        rows = logits.new_zeros(batch.real.size)
        rows = rows.index_copy(0, torch.from_numpy(batch.places()).to(self._device), logits).view(batch.real.shape)
        labels, targets, real = (
            torch.from_numpy(array).to(self._device) for array in (batch.labels, batch.targets, batch.real)
        )
        return objective(rows, labels, targets, real, self._loss)

    def _forward(self, pairs: EncodedPairs) -> Tensor:
        packed = self._student.pack(pairs, self._device)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            logits: Tensor = self._wrapped(packed)
        return logits

    def _no_sync(self, *, last: bool) -> Any:
        """Gradients are averaged over the workers once a step, after its last micro-batch."""
        skip = getattr(self._wrapped, "no_sync", None)
        return nullcontext() if last or skip is None else skip()

    def _most(self, rounds: int) -> int:
        """The most rounds that any worker has: all take part in every collective operation."""
        if self._workers == 1:
            return rounds
        most = torch.tensor(rounds, device=self._device)
        distributed.all_reduce(most, distributed.ReduceOp.MAX)
        return int(most)

    def _mean_over_workers(self, value: Tensor) -> Tensor:
        if self._workers > 1:
            distributed.all_reduce(value)
        return value / self._workers


def _parameter_groups(student: PackedStudent, step: StepSettings) -> list[dict[str, Any]]:
    """AdamW's groups: weight decay only for matrices, and the head's own learning rate."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in student.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((parameter.ndim > 1, _is_head(name)), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": step.weight_decay if decays else 0.0,
            "lr": (step.head_learning_rate or step.learning_rate) if head else step.learning_rate,
        }
        for (decays, head), parameters in groups.items()
    ]


def _is_out_of_memory(error: Exception) -> bool:
    """torch's allocator of a CPU has no exception of its own."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def _is_head(name: str) -> bool:
    return any(part in name.split(".") for part in ("classifier", "score", "pooler"))
