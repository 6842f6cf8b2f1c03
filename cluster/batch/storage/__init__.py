"""Where a job's output is kept: a directory of this machine, or a prefix of an object store, behind one protocol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """The files of one output, by their names in it (cluster/batch/names.py).

    `str()` of it is what errors call it, without passwords. What it writes is whole or not there, and stays when this
    process, or the machine that stores it, dies. `write` and `remove` raise OSError, and CannotWrite once another
    process has taken the output over; then nothing was changed.
    """

    @property
    def plan(self) -> Path:
        """The directory of the plan, always on this machine: actors map its files into memory."""

    def where(self, name: str) -> str:
        """What errors call a file."""

    def names(self) -> set[str]:
        """All names at the top level and in PARTS, and the plan's record if it is kept here; not its own files.

        Empty if nothing is there. Raises InvalidFile or Unavailable if that cannot be known.
        """

    def read(self, name: str) -> bytes:
        """b"" if there is no such file, or it is damaged. Raises InvalidFile or Unavailable."""

    def read_each(self, names: Sequence[str]) -> Iterator[bytes]:
        """As `read`, in this order, with a few files in memory."""

    def checksum(self, name: str) -> str:
        """As `checksum_of` its contents, "" where `read` gives b""."""

    def write(self, name: str, contents: bytes | Iterable[str]) -> str:
        """Write a file, or replace it. contents: lines may be more than fit into memory. Returns its checksum."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove the files that exist, for good when this returns."""

    def held(self) -> AbstractContextManager[None]:
        """Keep other processes from this output, which is created if need be.

        Raises JobRefused if one has it, and InvalidFile, Unavailable or CannotWrite if nothing can be written.
        """
