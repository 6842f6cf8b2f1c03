"""The API keys that are accepted now: a file, read again when it changes. Knows nothing of HTTP.

A file that cannot be read, or is not a list of keys, ends the start of a replica. Later the keys that were read last
stay, and the log says so once: an editor that saves half a file must lock nobody out, and let nobody in.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from reranker.errors import InvalidFile
from reranker.keys import Key, read_keys, version_of

log = logging.getLogger("ray.serve")

_CHECK_EVERY_S = 1.0
_LARGE_BYTES = 2**16  # some 300 keys: reading more takes longer than the event loop may be held


class KeyFile:
    """One process's view of the file. Not thread-safe: one event loop owns it."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises InvalidFile."""
        self._path, self._clock = path, clock
        self._checked_at = clock()
        self._version = version_of(path)  # before the file is read: a change in between is found by the next check
        self._by_hash = read_keys(path).by_hash

    async def by_hash(self) -> Mapping[str, Key]:
        """The keys that are accepted, by the hash of their secret; at most a second old."""
        if self._clock() - self._checked_at >= _CHECK_EVERY_S:
            self._checked_at = self._clock()
            version = version_of(self._path)
            if version != self._version:
                self._version = version
                await self._read(is_large=version is not None and version.size > _LARGE_BYTES)
        return self._by_hash

    async def _read(self, is_large: bool) -> None:
        try:
            keys = await asyncio.to_thread(read_keys, self._path) if is_large else read_keys(self._path)
        except InvalidFile as error:
            log.error("API keys: %s; the %d keys that were read before stay", error, len(self._by_hash))
            return
        self._by_hash = keys.by_hash
        log.info("API keys: %s has changed: %d keys are accepted", self._path, len(self._by_hash))
