"""A whole job without Ray: scores are made from docids, in the test's process."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow as pa
from rich.console import Console

from cluster.batch.identity import Identity
from cluster.batch.inputs.bad_rows import BadRow
from cluster.batch.job import complete
from cluster.batch.plan import Plan, read_unit
from cluster.batch.report import BatchReport, Clock
from cluster.batch.scored import RANKED_ROWS, Counts, Scale, ScoredUnit, Seconds
from cluster.batch.settings import BatchSettings
from cluster.batch.storage import Storage
from cluster.batch.storage.directory import Directory
from reranker.types import Passage
from tests.cluster.batch.collections import Collection, write_files
from tests.cluster.batch.outputs import SCALE

UNITS = 4
COLLECTION = Collection(
    {f"q{number}": f"query {number}" for number in range(2 * UNITS + 3)},  # the last three have no candidate
    {f"d{number}": Passage(f"text {number}", "title") for number in range(8)},
    [("q-lost", "d1", 9.0)]
    + [(f"q{number}", f"d{place}", -place) for number in range(2 * UNITS) for place in range(3)],
)
WITHOUT_SCORE = ("q2", "d1")
PAIRS = 3 * 2 * UNITS


class FakeJob:
    """One job and its output. inputs: their directory. scored: numbers of the units that were scored, in order.
    lines: what its storage has said.

    order: in which units finish. dies_after: number of units after which its process is killed.
    """

    def __init__(self, directory: Path, output: Path, *, version: str = "1", scale: Scale = SCALE) -> None:
        self._settings = BatchSettings.model_validate(
            {
                **(write_files(directory, COLLECTION) if not directory.exists() else _inputs(directory)),
                "output": output,
                "resume": True,
                "unit_pairs": 6,
                "max_bad_rows": 2,
            }
        )
        self.inputs, self.output, self.scale = directory, output, scale
        self.identity: Identity = {"version": version, "inputs": {"run": "sha"}, "checkpoint": "0af3"}
        self.scored: list[int] = []
        self.said = ""
        self.lines: list[str] = []

    def run(self, *, dies_after: int = UNITS, reverse: bool = False) -> BatchReport:
        """Begin or resume the job."""

        @contextmanager
        def scored_by(
            plan: Plan, units: list[int], settings: BatchSettings
        ) -> Iterator[tuple[int, Iterable[ScoredUnit]]]:
            yield 1, self._scored(plan, units[::-1] if reverse else units, dies_after)

        with Path(os.devnull).open("w") as terminal:
            console = Console(file=terminal, record=True, width=1_000)
            try:
                return complete(self._settings, self.storage(), self.identity, scored_by, console, Clock())
            finally:
                self.said = console.export_text()

    def storage(self) -> Storage:
        """A new one for each process of the job."""
        return Directory(self.output)

    def resumed(self) -> set[int]:
        """The units that a resumed job scores."""
        self.scored.clear()
        self.run()
        assert len(set(self.scored)) == len(self.scored)
        return set(self.scored)

    @property
    def files(self) -> dict[str, bytes]:
        """Contents by name of all files but the lock, and the report, which has timings."""
        names = ("report.json", ".lock")
        paths = (path for path in self.output.rglob("*") if path.is_file() and path.name not in names)
        return {str(path.relative_to(self.output)): path.read_bytes() for path in paths}

    def _scored(self, plan: Plan, units: list[int], dies_after: int) -> Iterator[ScoredUnit]:
        for place, number in enumerate(units):
            if place == dies_after:
                raise KeyboardInterrupt
            self.scored.append(number)
            yield self._score(plan, number)

    def _score(self, plan: Plan, number: int) -> ScoredUnit:
        unit = read_unit(str(plan.directory), number)
        tables, bad, end = [RANKED_ROWS.empty_table()], [], 0
        for query_id, count in zip(unit.query_ids, unit.counts, strict=True):
            start, end = end, end + count
            docids = [docid for docid in unit.docids[start:end] if (query_id, docid) != WITHOUT_SCORE]
            if len(docids) < count:
                bad.append(BadRow("its logit is nan", query_id=query_id, docid=WITHOUT_SCORE[1]))
            logits = np.array([crc32(f"{query_id}{docid}".encode()) % 1_000 for docid in docids], dtype=np.float32)
            best = np.argsort(-logits, kind="stable")
            names = np.array(docids, dtype=object)[best]
            columns = [[query_id] * len(docids), names, np.arange(1, len(docids) + 1), logits[best]]
            tables.append(pa.table(columns, schema=RANKED_ROWS))
        counts = Counts(len(unit.counts), len(unit.docids), len(unit.docids), 7 * len(unit.docids))
        return ScoredUnit(number, pa.concat_tables(tables), bad, self.scale, counts, Seconds(), "host:1")


def copied(job: FakeJob, output: Path) -> FakeJob:
    """The same job in a copy of its output."""
    shutil.copytree(job.output, output)
    return at(job, output)


def at(job: FakeJob, output: Path) -> FakeJob:
    """The same job with another output."""
    return FakeJob(job.inputs, output, scale=job.scale)


def report_of(job: FakeJob) -> dict[str, object]:
    contents: dict[str, object] = json.loads((job.output / "report.json").read_bytes())
    return contents


def _inputs(directory: Path) -> dict[str, Path]:
    return {
        "queries": directory / "queries.jsonl",
        "corpus": directory / "corpus.jsonl",
        "run": directory / "run.trec",
    }
