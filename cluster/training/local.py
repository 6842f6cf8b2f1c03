"""A run in this process, on one device, without Ray."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from cluster.training.feed import Sampler, steps_ahead
from cluster.training.loop import run
from cluster.training.output import CurveRow
from reranker.engine.engine import choose_device
from reranker.pairs import FloatArray
from reranker.training.batches import EncodedGroup
from reranker.training.settings import TrainingSettings

CHECKPOINT = "checkpoint"


class LocalWorker:
    """See Worker. Checkpoints go to `checkpoint/` under the output directory; the last whole one is kept."""

    rank, workers = 0, 1

    def __init__(self, settings: TrainingSettings, console: Console, device: str = "auto", every: int = 20) -> None:
        self.device = torch.device(choose_device(device))
        self._output, self._console, self._every = Path(settings.output), console, every

    def wrap(self, student: nn.Module) -> nn.Module:
        return student

    def feed(self, sampler: Sampler, first: int) -> Iterator[list[EncodedGroup]]:
        return steps_ahead(sampler, first)

    def restored(self) -> Path | None:
        directory = self._output / CHECKPOINT
        return directory if directory.is_dir() else None

    def gather(self, mine: list[FloatArray]) -> Sequence[list[FloatArray]]:
        return [mine]

    def report(self, row: CurveRow, save: Callable[[Path], None] | None) -> None:
        if row.ndcg is not None or row.step % self._every == 0:
            speed = f"{row.tokens_per_s:,.0f} tokens/s"
            measured = "" if row.ndcg is None else f"  nDCG@10 {row.ndcg:.4f}"
            self._console.print(
                f"step {row.step}  {row.minutes:.1f} min  loss {row.loss:.4f}  {speed}{measured}",
                highlight=False,
            )
        if save is not None:
            new = self._output / f".{CHECKPOINT}.new"
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            save(new)
            shutil.rmtree(self._output / CHECKPOINT, ignore_errors=True)
            new.replace(self._output / CHECKPOINT)


def train_locally(settings: TrainingSettings, console: Console, device: str = "auto") -> None:
    """Raises what `run` raises."""
    Path(settings.output).mkdir(parents=True, exist_ok=True)
    run(settings, LocalWorker(settings, console, device))
