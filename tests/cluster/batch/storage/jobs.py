"""The jobs of fake_jobs.py, with their output in a store in memory."""

from __future__ import annotations

from pathlib import Path

from cluster.batch.storage import Storage
from cluster.batch.storage.lease import LEASE, Lease
from cluster.batch.storage.prefix import Prefix
from tests.cluster.batch.fake_jobs import FakeJob
from tests.cluster.batch.storage.memory import MemoryObjects, Store


class StoredJob(FakeJob):
    """inputs: their directory. machine: one for the plan; another machine knows nothing of it."""

    def __init__(self, inputs: Path, machine: Path, store: Store, version: str = "1") -> None:
        super().__init__(inputs, machine / "not-used", version=version)
        self.inputs, self.store, self.plan = inputs, store, machine / "plan"

    def storage(self) -> Storage:
        objects = MemoryObjects(self.store)
        lease = Lease(objects, renew_s=None, pause=self.store.wait)
        return Prefix(objects, self.plan, wait=True, say=self.lines.append, lease=lease, pause=self.store.wait)

    @property
    def files(self) -> dict[str, bytes]:
        names = ((key.partition("/")[2], contents) for key, (contents, _) in self.store.objects.items())
        return {name: contents for name, contents in names if name not in ("report.json", LEASE)}
