"""A lock on an output directory, so that two jobs never write to the same one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reranker.errors import CannotWrite, JobRefused


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, which is released however this process dies.

    Raises JobRefused if another process holds it, CannotWrite if files cannot be created or locked there.
    """
    try:
        file = path.open("w")
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror or error}. Choose another --output") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(file.fileno()).st_nlink:  # its holder removed it just now: others would not see our lock
                raise BlockingIOError
        except BlockingIOError:
            raise JobRefused(f"{path.parent} is in use by another process: wait for it, or stop it") from None
        except OSError as error:
            path.unlink(missing_ok=True)
            raise CannotWrite(
                f"{path.parent} cannot be locked ({error.strerror or error}), so two jobs could write there: choose "
                "an --output on a file system with file locks, such as a local disk"
            ) from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
