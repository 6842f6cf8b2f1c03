"""An object store in memory that meets `Objects`: conditions are checked as S3 does, and time passes when told to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO

from cluster.batch.storage.objects import Found, NoConditionalWrites


@dataclass
class Store:
    """objects: key -> contents and when they were written. conditions: those that it knows; others are "ignored" or
    "refused", as `unknown` says.

    before: called before each request that changes something. lost_answers: number of changes that will be made,
    and whose answers will not arrive. unreachable: whether no request is answered at all.
    """

    objects: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    now_s: float = 1_000.0
    conditions: set[str] = field(default_factory=lambda: {"If-None-Match", "If-Match"})
    unknown: str = "ignored"
    before: Callable[[], None] = lambda: None
    lost_answers: int = 0
    unreachable: bool = False

    def wait(self, seconds: float) -> None:
        """Takes the place of `time.sleep`."""
        self.now_s += seconds

    def copy(self) -> Store:
        """The store as it is now, without faults."""
        return Store(dict(self.objects), self.now_s)


class MemoryObjects:
    """One client of a store."""

    def __init__(self, store: Store, prefix: str = "out") -> None:
        self._store, self._prefix = store, prefix

    def __str__(self) -> str:
        return f"s3://bucket/{self._prefix}"

    def names(self, directory: str) -> set[str]:
        self._ask()
        root = f"{self._prefix}/"
        found = [key.removeprefix(root) for key in self._store.objects if key.startswith(root + directory)]
        return {directory + name.removeprefix(directory).partition("/")[0] for name in found}

    def read(self, name: str) -> Found | None:
        self._ask()
        if (found := self._store.objects.get(self._key(name))) is None:
            return None
        return Found(found[0], _etag(found[0]), self._store.now_s - found[1])

    def chunks(self, name: str) -> Iterator[bytes] | None:
        found = self.read(name)
        return None if found is None else iter([found.contents[:3], found.contents[3:]])

    def write(self, name: str, contents: bytes) -> None:
        self._change(lambda: self._store.objects.update({self._key(name): (contents, self._store.now_s)}))

    def write_if(self, name: str, contents: bytes, version: str | None) -> str | None:
        header = "If-None-Match" if version is None else "If-Match"
        if header not in self._store.conditions and self._store.unknown == "refused":
            raise NoConditionalWrites("NotImplemented")
        written: list[str] = []

        def write() -> None:
            found = self._store.objects.get(self._key(name))
            if header not in self._store.conditions or (found and _etag(found[0])) == version:
                self._store.objects[self._key(name)] = contents, self._store.now_s
                written.append(_etag(contents))

        self._change(write)
        return written[0] if written else None

    def upload(self, name: str, file: IO[bytes]) -> None:
        with file:  # as boto3 does
            self.write(name, file.read())

    def remove(self, name: str) -> None:
        self._change(lambda: self._store.objects.pop(self._key(name), None))

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def _ask(self) -> None:
        if self._store.unreachable:
            raise ConnectionError("no answer from the store")

    def _change(self, change: Callable[[], object]) -> None:
        self._ask()
        self._store.before()
        change()
        if self._store.lost_answers:
            self._store.lost_answers -= 1
            raise ConnectionError("no answer from the store")


def _etag(contents: bytes) -> str:
    """Equal for equal contents, as that of S3."""
    return f'"{hashlib.md5(contents, usedforsecurity=False).hexdigest()}"'
