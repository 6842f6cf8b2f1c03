"""File writes that are whole or not there, also after a loss of power, and what a write that fails becomes."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reranker.errors import CannotWrite


def write_atomically(path: Path, content: str | bytes | Iterable[str], mode: int = 0o644) -> None:
    """Write a temporary file beside `path`, text as UTF-8, then rename it: readers see the old file or the new one.

    The file is on the disk when this returns.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            if isinstance(content, str | bytes):
                file.write(_encoded(content))
            else:
                file.writelines(map(_encoded, content))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync(path.parent)


def make_directory(path: Path) -> None:
    """Create a directory and its missing parents, on the disk when this returns. Does nothing if it exists."""
    if not path.exists():
        make_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file's contents, or a directory's list of files, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (error.errno == errno.EINVAL and path.is_dir()):  # some file systems cannot sync a directory
            raise
    finally:
        os.close(descriptor)


def _encoded(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Raises CannotWrite for an OSError, such as a full disk."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror or error}") from error
