"""What a job needs of an object store: whole objects, and writes on a condition.

Names are relative to the output's prefix. A store is trusted to be consistent: what was written is what is read. All
methods raise OSError: FileNotFoundError for a missing bucket, PermissionError for missing or refused credentials,
ConnectionError when the store does not answer. Its text is one line without credentials.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, NamedTuple, Protocol

READERS = 10
"""Objects that are read at the same time."""


class Found(NamedTuple):
    """An object. version: its ETag, another after each write of other contents. age_s: by the store's own clock."""

    contents: bytes
    version: str
    age_s: float


class NoConditionalWrites(OSError):
    """The store refuses conditional writes as unknown."""


class Objects(Protocol):
    """The objects under one prefix. `str()` is its URL, without credentials and options."""

    def names(self, directory: str) -> set[str]:
        """Names directly in a directory ("" or "parquet/"), of its subdirectories too."""

    def read(self, name: str) -> Found | None: ...

    def chunks(self, name: str) -> Iterator[bytes] | None:
        """The contents of an object of any size, None if it does not exist."""

    def write(self, name: str, contents: bytes) -> None:
        """One request: readers see the old object or the new one."""

    def write_if(self, name: str, contents: bytes, version: str | None) -> str | None:
        """Write if this is the object's version, or with None if there is no such object, in one step of the store.

        Returns the new version, None if the condition did not hold: then nothing was written, except by an earlier
        try of the same request whose answer was lost.
        """

    def upload(self, name: str, file: IO[bytes]) -> None:
        """Write an object of any size, of which readers see nothing before it is whole."""

    def remove(self, name: str) -> None: ...
