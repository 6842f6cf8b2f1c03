"""An output under a prefix of an object store: one request a file, and a lease against other processes."""

from __future__ import annotations

import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from cluster.batch.names import PARTS
from cluster.batch.storage.lease import LEASE, Lease
from cluster.batch.storage.objects import READERS, Objects
from cluster.batch.survey import checksum_of
from reranker.errors import InvalidFile, Unavailable
from reranker.files import make_directory, write_errors

T = TypeVar("T")

_TRIES = 4  # of each operation, while the store does not answer


class Prefix:
    """A `Storage`. plan: a directory of this machine, beside which files that are written are put together.

    wait, say: as for `Lease.take`. pause: waits for some seconds.
    """

    def __init__(
        self,
        objects: Objects,
        plan: Path,
        *,
        wait: bool,
        say: Callable[[str], None],
        lease: Lease | None = None,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.plan = plan
        self._objects, self._wait, self._say, self._pause = objects, wait, say, pause
        self._lease = lease or Lease(objects)

    def __str__(self) -> str:
        return str(self._objects)

    def where(self, name: str) -> str:
        return f"{self._objects}/{name}"

    def names(self) -> set[str]:
        def listed() -> set[str]:
            top = self._objects.names("")
            return top | (self._objects.names(f"{PARTS}/") if PARTS in top else set())

        return self._asked(listed) - {LEASE}

    def read(self, name: str) -> bytes:
        found = self._asked(lambda: self._objects.read(name))
        return found.contents if found else b""

    def read_each(self, names: Sequence[str]) -> Iterator[bytes]:
        """Several requests at a time: each takes tens of milliseconds, and a job has thousands of parts."""
        with ThreadPoolExecutor(READERS) as pool:
            asked: deque[Future[bytes]] = deque()
            try:
                for name in names:
                    asked.append(pool.submit(self.read, name))
                    if len(asked) > READERS:
                        yield asked.popleft().result()
                while asked:
                    yield asked.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def checksum(self, name: str) -> str:
        def summed() -> str:
            chunks = self._objects.chunks(name)
            if chunks is None:
                return ""
            digest = sha256()
            for chunk in chunks:
                digest.update(chunk)
            return f"sha256:{digest.hexdigest()}"

        return self._asked(summed)

    def write(self, name: str, contents: bytes | Iterable[str]) -> str:
        if isinstance(contents, bytes):
            self._changed(lambda: self._objects.write(name, contents))
            return checksum_of(contents)
        scratch, digest = self.plan.parent, sha256()
        with ExitStack() as stack:
            with write_errors(scratch):
                make_directory(scratch)
                file = stack.enter_context(tempfile.TemporaryFile(dir=scratch))
                for line in contents:
                    encoded = line.encode()
                    digest.update(encoded)
                    file.write(encoded)
                file.flush()

            def upload() -> None:
                with os.fdopen(os.dup(file.fileno()), "rb") as again:  # a client may close what it has sent
                    again.seek(0)
                    self._objects.upload(name, again)

            self._changed(upload)
        return f"sha256:{digest.hexdigest()}"

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._changed(partial(self._objects.remove, name))

    @contextmanager
    def held(self) -> Iterator[None]:
        self._asked(lambda: self._lease.take(wait=self._wait, say=self._say))
        with self._lease.kept():
            yield

    def _changed(self, change: Callable[[], None]) -> None:
        """Each try asks the store first whether the output is still this job's."""

        def try_it() -> None:
            self._lease.renew()
            change()

        self._retried(try_it)

    def _asked(self, call: Callable[[], T]) -> T:
        """Raises InvalidFile or Unavailable for an OSError: without an answer nothing is known of the output."""
        try:
            return self._retried(call)
        except ConnectionError as error:
            raise Unavailable(f"{self}: {error}") from None
        except OSError as error:
            raise InvalidFile(str(self), str(error)) from None

    def _retried(self, call: Callable[[], T]) -> T:
        for tried in range(1, _TRIES):
            with suppress(ConnectionError):
                return call()
            self._pause(2.0 ** (tried - 1))
        return call()
