"""A lock on an output directory, so that two jobs never write to the same one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reranker.errors import JobRefused
from reranker.files import write_errors


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, which is released however this process dies.

    Raises JobRefused if another process holds it, CannotWrite if it cannot be created.
    """
    with write_errors(path):
        file = path.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A holder that has just removed the file leaves us a lock that others would not see.
            if not os.fstat(file.fileno()).st_nlink:
                raise BlockingIOError
        except BlockingIOError:
            raise JobRefused(f"{path.parent} is in use by another process: wait for it, or stop it") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
