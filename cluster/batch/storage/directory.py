"""An output in a directory of this machine: atomic renames, fsync, and a file lock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.batch.names import BAD_ROWS, JOB, PARTS, PLAN, REPORT, RUN, SUCCESS
from cluster.batch.survey import checksum_of
from cluster.locks import locked
from reranker.errors import InvalidFile
from reranker.files import make_directory, sync, write_atomically
from reranker.ir.locations import content_sha256

_LOCK = ".lock"
_WRITTEN = (JOB, RUN, BAD_ROWS, SUCCESS, REPORT)


class Directory:
    """A `Storage`. plan: by default in the directory itself."""

    def __init__(self, path: Path, plan: Path | None = None) -> None:
        self._path = path
        self.plan = plan or path / PLAN

    def __str__(self) -> str:
        return str(self._path)

    def where(self, name: str) -> str:
        return str(self._path / name)

    def names(self) -> set[str]:
        if not self._path.exists():
            return set()
        if not self._path.is_dir():
            raise InvalidFile(self._path, "is not a directory: choose another --output, or remove it")
        found = {*self._path.iterdir(), *(self._path / PARTS).glob("*"), *(self._path / PLAN).glob("plan.json")}
        kept = found - {self._path / _LOCK, *half_written(self._path)}
        return {path.relative_to(self._path).as_posix() for path in kept}

    def read(self, name: str) -> bytes:
        try:
            return (self._path / name).read_bytes()
        except OSError:
            return b""

    def read_each(self, names: Sequence[str]) -> Iterator[bytes]:
        return map(self.read, names)

    def checksum(self, name: str) -> str:
        try:
            return f"sha256:{content_sha256(self._path / name)}"
        except InvalidFile:
            return ""

    def write(self, name: str, contents: bytes | Iterable[str]) -> str:
        path = self._path / name
        make_directory(path.parent)
        write_atomically(path, contents)
        return checksum_of(contents) if isinstance(contents, bytes) else self.checksum(name)

    def remove(self, names: Iterable[str]) -> None:
        paths = [self._path / name for name in names]
        for path in paths:
            path.unlink(missing_ok=True)
        for directory in {path.parent for path in paths}:
            if directory.exists():
                sync(directory)

    @contextmanager
    def held(self) -> Iterator[None]:
        """A directory that was created for the job is removed again if it stays empty."""
        created = not self._path.exists()
        try:
            make_directory(self._path)
        except OSError as error:
            raise InvalidFile(self._path, f"cannot be created: {error.strerror}") from None
        try:
            with locked(self._path / _LOCK):
                for path in half_written(self._path):
                    path.unlink()
                yield
        finally:
            if created and self._path.exists() and not any(self._path.iterdir()):
                self._path.rmdir()


def half_written(directory: Path) -> list[Path]:
    """Temporary files that `write_atomically` leaves behind when it is killed."""
    patterns = [f".{name}.*" for name in _WRITTEN] + [f"{PARTS}/.part-*"]
    return [path for pattern in patterns for path in directory.glob(pattern)]
