"""A run's progress in the terminal: steps, loss, speed and nDCG, live."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cluster.training.results.output import CurveRow, read_curve

_POLL_S = 0.5


class RunProgress:
    """A bar on a terminal, and a line for every evaluation."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("reading the training set …", total=None)
        self._last_step = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, steps: int | None) -> None:
        self._bar.update(self._task, total=steps)

    def row(self, row: CurveRow) -> None:
        """Show one step; a step that was shown is not shown again, as when a worker was lost."""
        description = f"loss {row.loss:.4f}  {row.tokens_per_s:,.0f} tokens/s"
        self._bar.update(self._task, completed=row.step, description=description)
        if row.ndcg is not None and row.step > self._last_step:
            line = f"step {row.step}  {row.minutes:.1f} min  loss {row.loss:.4f}  nDCG@10 {row.ndcg:.4f}"
            self._console.print(line, highlight=False)
        self._last_step = max(self._last_step, row.step)


class CurveFollower:
    """Shows the rows that another process appends to curve.csv, until it is left."""

    def __init__(self, path: Path, progress: RunProgress) -> None:
        self._path, self._progress = path, progress
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="curve", daemon=True)
        self._shown = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stop.wait(_POLL_S):
            self._show()
        self._show()

    def _show(self) -> None:
        for row in read_curve(self._path):
            if row.step > self._shown:
                self._progress.row(row)
                self._shown = row.step
