"""A lease on an output in an object store, so that two jobs never write to the same one.

The object `.lease` names the process that has the output: owner, host and pid. The rule:

1. Only that process writes. It writes the lease anew (If-Match) every RENEW_S, and before each change of the output.
2. A lease that was not written for `lease_s`, by the store's own clock, may be taken over (If-Match): of several that
   try, one succeeds. So may one that was given back. Where there is none, it is created (If-None-Match).
3. A process that cannot renew because the lease has changed has lost the output, and writes nothing more.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

from cluster.batch.seal import json_object
from cluster.batch.storage.objects import Found, NoConditionalWrites, Objects
from reranker.errors import CannotWrite, JobRefused

LEASE = ".lease"
LEASE_S = 60.0
RENEW_S = 15.0
_CLOCK_S = 2.0  # the store's times are whole seconds
_POLL_S = 1.0
_TRIES = 5
_NO_VERSION = '"00000000000000000000000000000000"'


@dataclass(frozen=True, slots=True)
class _Lease:
    """What the object says. owner: unique to a process. renewed: how often; so no two writes are equal."""

    owner: str = ""
    host: str = "an unknown host"
    pid: int = 0
    lease_s: float = LEASE_S
    renewed: int = 0
    released: bool = False

    def to_json(self) -> bytes:
        return f"{json.dumps(asdict(self))}\n".encode()

    @classmethod
    def of(cls, contents: bytes) -> _Lease:
        """Defaults for what cannot be read, so that a damaged lease runs out as any other."""
        given = json_object(contents)
        kinds = {name: (int, float) if name == "lease_s" else type(getattr(cls(), name)) for name in asdict(cls())}
        return cls(**{name: given[name] for name, kind in kinds.items() if isinstance(given.get(name), kind)})


class Lease:
    """The lease of one process on one output. pause: waits for some seconds. renew_s: None to renew by hand only."""

    def __init__(
        self,
        objects: Objects,
        *,
        lease_s: float = LEASE_S,
        renew_s: float | None = RENEW_S,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._objects, self._renew_s, self._pause = objects, renew_s, pause
        self._lease = _Lease(uuid.uuid4().hex, socket.gethostname(), os.getpid(), lease_s)
        self._version: str | None = None
        self._lost: str | None = None
        self._lock = threading.Lock()

    def take(self, *, wait: bool, say: Callable[[str], None]) -> None:
        """wait: whether to wait for a lease that is not renewed to run out: its job may have been killed.

        Raises JobRefused if another job has it, CannotWrite if the store knows no conditional writes, OSError.
        """
        self._lease = replace(self._lease, renewed=self._lease.renewed + 1, released=False)
        try:
            self._take(wait, say)
        except NoConditionalWrites:
            raise _no_conditional_writes(self._objects) from None
        self._require_conditional_writes()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew the lease, which was taken, in a thread, and give it back at the end."""
        ended = threading.Event()
        thread = threading.Thread(target=self._keep, args=(ended,), name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.give_back()

    def renew(self) -> None:
        """Make sure that the output is still this job's, for another `lease_s`.

        Raises CannotWrite if it is not, OSError if the store does not answer.
        """
        with self._lock:
            if self._lost is None:
                self._lease = replace(self._lease, renewed=self._lease.renewed + 1)
                if not self._write(self._version):
                    self._lost = self._what_happened()
            if self._lost is not None:
                raise CannotWrite(self._lost)

    def give_back(self) -> None:
        """Others need not wait. If the store does not answer, the lease runs out by itself.

        The object stays: a store that removes on no condition would remove that of the next owner.
        """
        with self._lock, suppress(OSError):
            self._lease = replace(self._lease, released=True)
            self._write(self._version)  # without effect if the lease is lost

    def _take(self, wait: bool, say: Callable[[str], None]) -> None:
        seen: Found | None = None
        failed = 0
        while True:
            found = self._objects.read(LEASE)
            lease = _Lease.of(found.contents) if found else None
            ours = lease is not None and lease.owner == self._lease.owner  # an earlier try, whose answer was lost
            if found is None or lease is None or ours or lease.released or found.age_s >= lease.lease_s + _CLOCK_S:
                if self._write(found.version if found else None):
                    return
                failed += 1  # another job was faster: read what it wrote
                if failed == _TRIES:
                    raise JobRefused(f"{self._objects} is being taken by other processes: try again")
                continue
            renewed = seen is not None and seen.version != found.version
            if renewed or failed or not wait:
                raise JobRefused(self._in_use(found, lease))
            if seen is None:
                left = lease.lease_s + _CLOCK_S - found.age_s
                say(f"{self._in_use(found, lease)}. Waiting up to {left:.0f} s for it to run out")
            seen = found
            self._pause(_POLL_S)

    def _keep(self, ended: threading.Event) -> None:
        while not ended.wait(self._renew_s):
            with suppress(OSError):  # it is tried again; whether the lease is lost, only the store knows
                try:
                    self.renew()
                except CannotWrite:
                    return

    def _write(self, version: str | None) -> bool:
        """Whether the lease is ours. A write that arrived although its answer was lost is found by its owner."""
        for _ in range(_TRIES):
            written = self._objects.write_if(LEASE, self._lease.to_json(), version)
            if written is not None:
                self._version = written
                return True
            found = self._objects.read(LEASE)
            if found is None or _Lease.of(found.contents).owner != self._lease.owner:
                return False
            version = found.version
            if _Lease.of(found.contents) == self._lease:
                self._version = version
                return True
        return False

    def _require_conditional_writes(self) -> None:
        """Raises CannotWrite for a store that ignores conditions, or knows one of the two."""
        contents = self._lease.to_json()
        with suppress(NoConditionalWrites):
            if all(self._objects.write_if(LEASE, contents, version) is None for version in (None, _NO_VERSION)):
                return
        self._objects.remove(LEASE)
        raise _no_conditional_writes(self._objects)

    def _in_use(self, found: Found, lease: _Lease) -> str:
        until = datetime.now(UTC) + timedelta(seconds=max(0.0, lease.lease_s - found.age_s))
        return (
            f"{self._objects} is in use by process {lease.pid} on {lease.host}, until {until:%H:%M:%S} UTC unless it "
            "renews its lease: wait for it, or stop it"
        )

    def _what_happened(self) -> str:
        by = f"its {LEASE} was removed"
        with suppress(OSError):
            if found := self._objects.read(LEASE):
                lease = _Lease.of(found.contents)
                by = f"process {lease.pid} on {lease.host} has taken it over"
        return f"{self._objects} is no longer this job's: {by}. This process has stopped, and writes nothing more"


def _no_conditional_writes(objects: Objects) -> CannotWrite:
    return CannotWrite(
        f"{objects} cannot be locked: its store does not know conditional writes (If-None-Match and If-Match of "
        "PutObject), so two jobs could write there. Choose an --output in another store or on a local disk"
    )
