"""A directory that appears only once it is complete."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from reranker.errors import CheckpointError


@contextlib.contextmanager
def new_directory(output: Path) -> Iterator[Path]:
    """A directory of the same name elsewhere on the same disk, which becomes `output` if the block succeeds.

    Otherwise it is removed, and `output` is as before. Raises CheckpointError when `output` is not empty.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise CheckpointError(f"{output} is not an empty directory: choose another --output")
    parent = output.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".{output.name}.") as partial:
        directory = Path(partial) / output.name
        directory.mkdir()
        yield directory
        directory.rename(output)
