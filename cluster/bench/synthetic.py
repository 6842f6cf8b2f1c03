"""Checkpoints with random weights: written with a progress bar, and cached for the engine benchmark."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from cluster.sample import CORPUS
from reranker.errors import InvalidField
from reranker.ir.texts import iter_corpus

DTYPES = ("bfloat16", "float16", "float32")
_FORMAT = 1  # increase it when the same shape and seed give other files, to invalidate cached checkpoints


def write_synthetic(shape: str, output: Path, console: Console, *, seed: int, dtype: str) -> int:
    """Write a shape of `reranker.synth.SHAPES`; returns bytes of weights. Raises InvalidField, CheckpointError."""
    if dtype not in DTYPES:
        raise InvalidField("--dtype", f"{dtype!r} is not known: use one of {', '.join(DTYPES)}")
    import torch

    from reranker.checkpoints.synth import synthesize
    from reranker.checkpoints.synth_shapes import shape_named

    sizes, weights_dtype = shape_named(shape), getattr(torch, dtype)
    texts = [passage.text for _, passage in iter_corpus(CORPUS)]
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"writing {shape}", total=sizes.weights * weights_dtype.itemsize)
        return synthesize(
            sizes, output, texts, seed=seed, dtype=weights_dtype, progress=lambda done: bar.advance(task, done)
        )


def kept_synthetic(shape: str, console: Console) -> Path:
    """The checkpoint of that shape in the user's cache directory; written on first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "dear-reranker" / f"synth-{shape}-{_FORMAT}"
    if not directory.is_dir():
        write_synthetic(shape, directory, console, seed=0, dtype="bfloat16")
    return directory
