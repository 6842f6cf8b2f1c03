"""A run in this process, on one device, without Ray."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from cluster.training.feed import Sampler, steps_ahead
from cluster.training.results.output import CurveRow
from cluster.training.results.progress import RunProgress
from reranker.engine.engine import choose_device
from reranker.files import write_errors
from reranker.pairs import FloatArray
from reranker.training.batches import EncodedGroup
from reranker.training.packed import PackedStudent
from reranker.training.settings import TrainingSettings

CHECKPOINT = "checkpoint"


class LocalWorker:
    """See Worker. Checkpoints go to `checkpoint/` under the output directory; the last whole one is kept."""

    rank, workers = 0, 1

    def __init__(self, settings: TrainingSettings, progress: RunProgress, device: str = "auto") -> None:
        self.device = torch.device(choose_device(device))
        self._output, self._progress = Path(settings.output), progress

    def begin(self, steps: int) -> None:
        self._progress.begin(steps)

    def wrap(self, student: PackedStudent, dtype: torch.dtype) -> nn.Module:
        return student

    def feed(self, sampler: Sampler, first: int) -> Iterator[list[EncodedGroup]]:
        return steps_ahead(sampler, first)

    def restored(self) -> Path | None:
        whole, new = self._output / CHECKPOINT, self._output / f".{CHECKPOINT}.whole"
        if new.is_dir():  # the process was killed between removing the old one and renaming this one
            shutil.rmtree(whole, ignore_errors=True)
            new.replace(whole)
        return whole if whole.is_dir() else None

    def gather(self, mine: list[FloatArray]) -> Sequence[list[FloatArray]]:
        return [mine]

    def report(self, row: CurveRow, save: Callable[[Path], None] | None) -> None:
        self._progress.row(row)
        if save is None:
            return
        new = self._output / f".{CHECKPOINT}.new"
        whole = self._output / f".{CHECKPOINT}.whole"
        with write_errors(new):
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            save(new)
            new.replace(whole)
            shutil.rmtree(self._output / CHECKPOINT, ignore_errors=True)
            whole.replace(self._output / CHECKPOINT)
