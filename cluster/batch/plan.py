"""The plan of a job, on disk: its units of work, and the passages they need.

A unit is a few whole queries with all their candidates. It is scored and written as a whole, so that its scores
depend on its own pairs only, not on when or where they are scored. Equal inputs and settings give equal units.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from cluster.batch.inputs.bad_rows import BadRows
from cluster.batch.inputs.passages import PassageReader, PassageWriter
from cluster.batch.inputs.sources import Candidates, OnProgress, read_candidates
from cluster.batch.seal import SEAL, is_sealed, json_object, seal
from cluster.batch.settings import BatchSettings
from reranker.errors import CannotWrite, InvalidFile
from reranker.files import make_directory, sync, write_atomically
from reranker.ir.locations import content_sha256
from reranker.ir.texts import iter_queries
from reranker.pairs import OffsetArray

_SCHEMA = pa.schema([("query_id", pa.string()), ("query", pa.large_string()), ("positions", pa.list_(pa.int64()))])
_UNITS, _PASSAGES, _DEAD_LETTERS, _DONE = "units.arrow", "passages.arrow", "bad_rows.jsonl", "plan.json"


@dataclass(frozen=True, slots=True)
class Unit:
    """query_ids, queries, counts (candidates per query): (queries,). The rest: (candidates,), best first."""

    query_ids: list[str]
    queries: list[str]
    counts: list[int]
    docids: list[str]
    titles: list[str]
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """queries, pairs: int64 (units,), their number in each unit. bad_rows: number of rows skipped while planning.

    queries_without_candidates: queries of the queries file that are in no unit.
    """

    directory: Path
    queries: OffsetArray
    pairs: OffsetArray
    bad_rows: int
    queries_without_candidates: int = 0

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def dead_letters(self) -> Path:
        return self.directory / _DEAD_LETTERS

    @classmethod
    def open(cls, directory: Path, job: str = "") -> Plan | None:
        """The plan that was made here for this job, None if there is none or a file is not as it was written."""
        try:
            contents = (directory / _DONE).read_bytes()
        except OSError:
            return None
        done = json_object(contents) if is_sealed(contents) else {}
        if done.get("job") != job or done.get("files") != _facts_of(directory):
            return None
        units = pa.ipc.open_file(pa.memory_map(str(directory / _UNITS)))
        batches = [units.get_batch(number) for number in range(units.num_record_batches)]
        pairs = [batch.column("positions").flatten() for batch in batches]
        return cls(
            directory,
            np.array([batch.num_rows for batch in batches], dtype=np.int64),
            np.array([len(positions) for positions in pairs], dtype=np.int64),
            done["bad_rows"],
            done["queries_without_candidates"],
        )


def make_plan(settings: BatchSettings, directory: Path, on_progress: OnProgress, job: str = "") -> Plan:
    """Read the inputs and write the plan of this job (`job_of` its identity), replacing what is in `directory`.

    Raises InvalidFile, TooManyBadRows, or CannotWrite for a full disk, and then removes the directory.
    """
    shutil.rmtree(directory, ignore_errors=True)
    bad = BadRows(settings.max_bad_rows)
    try:
        make_directory(directory)
        with PassageWriter(directory / _PASSAGES) as store:
            candidates = read_candidates(settings, store, bad, directory / _DEAD_LETTERS, on_progress)
        _write_units(directory / _UNITS, candidates, settings.unit_pairs)
        for name in (_PASSAGES, _UNITS):
            sync(directory / name)
        done = {
            "job": job,
            "bad_rows": bad.count,
            "queries_without_candidates": _without_candidates(settings, candidates),
            "files": _facts_of(directory),
            **SEAL,
        }
        write_atomically(directory / _DONE, seal(json.dumps(done).encode()))
    except BaseException as error:
        shutil.rmtree(directory, ignore_errors=True)
        if isinstance(error, OSError):  # from writing: read errors are InvalidFile
            raise CannotWrite(f"{directory} cannot be written: {error.strerror or error}. Make room there") from error
        raise
    plan = Plan.open(directory, job)
    if plan is None:
        raise CannotWrite(
            f"{directory} does not read back as it was written: check the disk, or use another --output"
        )
    return plan


def cut_units(counts: OffsetArray, unit_pairs: int) -> list[tuple[int, int]]:
    """Cut the queries into ranges [first, last), each of at most `unit_pairs` candidates or of one query.

    counts: (queries,), candidates per query. Greedy: a unit takes as many queries as fit.
    """
    ends = np.cumsum(counts)
    units = []
    first = 0
    while first < len(counts):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + unit_pairs, side="right")))
        units.append((first, last))
        first = last
    return units


def read_unit(directory: str, number: int) -> Unit:
    """One unit with its texts. Files are mapped once per process, so the cost is that of the unit alone."""
    marker = Path(directory, _DONE).stat()
    units, passages = _mapped(directory, marker.st_ino, marker.st_mtime_ns)
    batch = units.get_batch(number)
    query_ids, queries, positions = batch.columns
    docids, titles, texts = passages.take(positions.flatten().to_numpy())
    return Unit(
        query_ids.to_pylist(),
        queries.to_pylist(),
        np.diff(positions.offsets.to_numpy()).tolist(),
        docids,
        titles,
        texts,
    )


@lru_cache(maxsize=2)
def _mapped(directory: str, *version: int) -> tuple[pa.ipc.RecordBatchFileReader, PassageReader]:
    """version: part of the cache key, so that a new plan in the same directory is not taken for the old one."""
    return pa.ipc.open_file(pa.memory_map(f"{directory}/{_UNITS}")), PassageReader(Path(directory, _PASSAGES))


def _facts_of(directory: Path) -> dict[str, dict[str, int | str]]:
    """Size and checksum of each file of the plan that exists."""
    paths = [directory / name for name in (_UNITS, _PASSAGES, _DEAD_LETTERS)]
    return {
        path.name: {"bytes": path.stat().st_size, "sha256": content_sha256(path)} for path in paths if path.is_file()
    }


def _without_candidates(settings: BatchSettings, candidates: Candidates) -> int:
    """Number of queries in the queries file that have no candidate; in a table every query has one."""
    if settings.queries is None:
        return 0
    query_ids = {query_id for _, query_id, _ in iter_queries(settings.queries, _ignored)}
    return len(query_ids.difference(candidates.query_ids))


def _ignored(error: InvalidFile, row: object) -> None:
    """Rows that cannot be read were counted when the candidates were read."""


def _write_units(path: Path, candidates: Candidates, unit_pairs: int) -> None:
    """Write one record batch per unit."""
    ends = np.concatenate(([0], np.cumsum(candidates.counts)))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        for first, last in cut_units(candidates.counts, unit_pairs):
            positions = pa.ListArray.from_arrays(
                pa.array(ends[first : last + 1] - ends[first], pa.int32()),
                pa.array(candidates.positions[ends[first] : ends[last]]),
            )
            columns = [candidates.query_ids[first:last], candidates.queries[first:last], positions]
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))
