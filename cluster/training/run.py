"""A whole run: the output directory, the workers, and the finished model."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.batch.identity import refuse_different_job
from cluster.locks import locked
from cluster.training.local import LocalWorker
from cluster.training.loop import run
from cluster.training.results.card import write_card
from cluster.training.results.checkpoint import complete
from cluster.training.results.output import CURVE, MODEL, read_curve
from cluster.training.results.progress import RunProgress
from cluster.training.settings import RunSettings
from reranker.errors import InvalidFile, JobRefused
from reranker.extras import how_to_install
from reranker.files import write_atomically, write_errors

RUN, SUMMARY, PICTURE = "run.json", "summary.json", "curve.png"


def train(settings: RunSettings, console: Console, *, resume: bool = False) -> dict[str, Any]:
    """Train, and write `model/`, curve.csv, curve.png and, last, summary.json. Returns the summary.

    Raises JobRefused for an output that belongs to another run or is in use, InvalidFile, InvalidField or
    CheckpointError for wrong input, TrainingFailed where the run cannot go on, CannotWrite.
    """
    settings = settings.absolute()
    output = Path(settings.output)
    with opened(settings, resume=resume):
        if not (output / SUMMARY).is_file():
            started = time.monotonic()
            _run_workers(settings, console)
            with console.status("scoring golden pairs with the trained model …"):
                _finish(settings, time.monotonic() - started)
            _draw(output, console)
        summary: dict[str, Any] = json.loads((output / SUMMARY).read_text())
    return summary


@contextmanager
def opened(settings: RunSettings, *, resume: bool) -> Iterator[None]:
    """Lock the output directory, and record in it what is run. A run that fails before its first step leaves nothing.

    Raises as `train`.
    """
    output = Path(settings.output)
    _refuse_occupied(output, resume=resume)
    created = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidFile(output, f"cannot be created: {error.strerror}") from None
    with locked(output / ".lock"):
        _refuse_occupied(output, resume=resume)  # another run may have ended before we had the lock
        if (output / RUN).is_file():
            refuse_different_job(json.loads((output / RUN).read_text()), settings.identity(), str(output))
        else:
            with write_errors(output):
                write_atomically(output / RUN, json.dumps(settings.identity(), indent=1) + "\n")
        try:
            yield
        except BaseException:
            if not read_curve(output / CURVE):
                _discard(output)
            raise
        finally:
            (output / ".lock").unlink(missing_ok=True)
            if created and not any(output.iterdir()):
                output.rmdir()


def _discard(output: Path) -> None:
    """Remove the files of a run that has not trained."""
    shutil.rmtree(output / "ray", ignore_errors=True)
    for name in (RUN, CURVE):
        (output / name).unlink(missing_ok=True)


def _refuse_occupied(output: Path, *, resume: bool) -> None:
    if not output.exists():
        return
    if not output.is_dir():
        raise InvalidFile(output, "is not a directory: choose another output, or remove it")
    names = {path.name for path in output.iterdir()} - {".lock"}
    if not names or (resume and RUN in names):
        return
    if SUMMARY in names:
        problem = "holds a finished run: choose another output (--set output=DIR), or remove it"
    elif RUN in names:
        problem = "holds an unfinished run: continue it with --resume, or choose another output (--set output=DIR)"
    else:
        problem = "is not empty and holds no run: choose another output (--set output=DIR)"
    raise JobRefused(f"{output} {problem}")


def _run_workers(settings: RunSettings, console: Console) -> None:
    progress = RunProgress(console)
    if settings.local:
        with progress:
            run(settings, LocalWorker(settings, progress))
        return
    from cluster.training.job import run_on_ray

    run_on_ray(settings, progress, console)


def _finish(settings: RunSettings, seconds: float) -> None:
    output = Path(settings.output)
    rows = read_curve(output / CURVE)
    measured = [row for row in rows if row.ndcg is not None]
    best = max(measured, key=lambda row: row.ndcg or 0.0, default=None)
    complete(output / MODEL, settings.student.template, settings.student.max_pair_tokens)
    summary = {
        "steps": rows[-1].step if rows else 0,
        "minutes": round(rows[-1].minutes if rows else seconds / 60, 2),
        "loss": rows[-1].loss if rows else None,
        "ndcg": best and best.ndcg,
        "best_step": best and best.step,
        "workers": settings.most_workers,
        "model": str(output / MODEL),
    }
    with write_errors(output):
        write_card(output / MODEL, settings, summary)
        write_atomically(output / SUMMARY, json.dumps(summary, indent=1) + "\n")


def _draw(output: Path, console: Console) -> None:
    """curve.png, where matplotlib is installed."""
    try:
        from cluster.training.results.picture import draw_curve
    except ImportError as error:
        if (line := how_to_install(error)) is None:
            raise
        console.print(f"no {PICTURE}: {line}", markup=False, highlight=False)
        return
    draw_curve(output / PICTURE, read_curve(output / CURVE))
