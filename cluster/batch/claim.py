"""Claim an output directory: it must be free or hold a job to resume, and one process at a time may use it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.batch.names import BAD_ROWS, JOB, PARTS, PLAN, REPORT, RUN, SUCCESS
from reranker.errors import CannotWrite, InvalidFile, JobRefused

_WRITTEN = (JOB, RUN, BAD_ROWS, SUCCESS, REPORT)


def refuse_occupied(directory: Path, *, resume: bool) -> None:
    """Raises JobRefused unless the directory is absent or empty, or holds a job and `resume` is set."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise InvalidFile(directory, "is not a directory: choose another --output, or remove it")
    names = {path.name for path in directory.iterdir()} - {".lock", *(path.name for path in half_written(directory))}
    if SUCCESS in names:
        problem = "" if resume else "holds the result of an earlier job: choose another --output, or remove it"
    elif JOB in names or (directory / PLAN / "plan.json").exists() or any((directory / PARTS).glob("part-*.parquet")):
        problem = "" if resume else "holds an unfinished job: continue it with --resume, or choose another --output"
    else:
        problem = "is not empty and holds no job: choose another --output" if names else ""
    if problem:
        raise JobRefused(f"{directory} {problem}")


def half_written(directory: Path) -> list[Path]:
    """Temporary files that `write_atomically` leaves behind when it is killed."""
    patterns = [f".{name}.*" for name in _WRITTEN] + [f"{PARTS}/.part-*"]
    return [path for pattern in patterns for path in directory.glob(pattern)]


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
            path.unlink()
