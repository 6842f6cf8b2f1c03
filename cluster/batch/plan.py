"""What a job will do, on disk: the units of its work, and the passages they need.

A unit is a few whole queries with all their candidates. It is scored in one piece and written in one piece, so that
its numbers depend on nothing but its own pairs, whoever scores it and whenever. Units are a pure function of the
inputs and the settings.
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
from cluster.batch.inputs.sources import Candidates, Say, read_candidates
from cluster.batch.settings import BatchSettings
from reranker.errors import CannotWrite
from reranker.files import write_atomically
from reranker.pairs import OffsetArray

_SCHEMA = pa.schema([("query_id", pa.string()), ("query", pa.large_string()), ("places", pa.list_(pa.int64()))])
_UNITS, _PASSAGES, _DEAD_LETTERS, _DONE = "units.arrow", "passages.arrow", "bad_rows.jsonl", "plan.json"


@dataclass(frozen=True, slots=True)
class Unit:
    """query_ids, queries: (queries,). counts: (queries,), candidates of each. The rest: (candidates,), best first."""

    query_ids: list[str]
    queries: list[str]
    counts: list[int]
    docids: list[str]
    titles: list[str]
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """directory: where it lies. queries, pairs: int64 (units,), how many each unit has. bad_rows: met on the way."""

    directory: Path
    queries: OffsetArray
    pairs: OffsetArray
    bad_rows: int

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def dead_letters(self) -> Path:
        return self.directory / _DEAD_LETTERS

    @classmethod
    def open(cls, directory: Path) -> Plan | None:
        """None where no plan was made, or not to its end."""
        if not (directory / _DONE).is_file():
            return None
        bad_rows = json.loads((directory / _DONE).read_bytes())["bad_rows"]
        units = pa.ipc.open_file(pa.memory_map(str(directory / _UNITS)))
        batches = [units.get_batch(number) for number in range(units.num_record_batches)]
        pairs = [batch.column("places").flatten() for batch in batches]
        return cls(
            directory,
            np.array([batch.num_rows for batch in batches], dtype=np.int64),
            np.array([len(places) for places in pairs], dtype=np.int64),
            bad_rows,
        )


def make_plan(settings: BatchSettings, directory: Path, say: Say) -> Plan:
    """Read the inputs and write the plan, from nothing.

    Raises InvalidFile, TooManyBadRows, and CannotWrite for a full disk; then nothing is left.
    """
    shutil.rmtree(directory, ignore_errors=True)
    bad = BadRows(settings.max_bad_rows)
    try:
        directory.mkdir(parents=True)
        with PassageWriter(directory / _PASSAGES) as store:
            candidates = read_candidates(settings, store, bad, directory / _DEAD_LETTERS, say)
        _write_units(directory / _UNITS, candidates, settings.unit_pairs)
        write_atomically(directory / _DONE, json.dumps({"bad_rows": bad.count}))
    except BaseException as error:
        shutil.rmtree(directory, ignore_errors=True)
        if isinstance(error, OSError):  # what cannot be read is an InvalidFile
            raise CannotWrite(f"{directory} cannot be written: {error.strerror or error}. Make room there") from error
        raise
    plan = Plan.open(directory)
    if plan is None:
        raise FileNotFoundError(directory / _DONE)
    return plan


def cut_units(counts: OffsetArray, unit_pairs: int) -> list[tuple[int, int]]:
    """counts: (queries,), candidates of each. Runs (first, last) of neighbouring queries, last not included.

    Each has at most `unit_pairs` candidates, or one query.
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
    """One unit with its texts. Costs no more than what it returns: files are mapped once a process."""
    made = Path(directory, _DONE).stat()
    units, passages = _mapped(directory, made.st_ino, made.st_mtime_ns)
    batch = units.get_batch(number)
    query_ids, queries, places = batch.columns
    docids, titles, texts = passages.take(places.flatten().to_numpy())
    return Unit(
        query_ids.to_pylist(),
        queries.to_pylist(),
        np.diff(places.offsets.to_numpy()).tolist(),
        docids,
        titles,
        texts,
    )


@lru_cache(maxsize=2)
def _mapped(directory: str, *made: int) -> tuple[pa.ipc.RecordBatchFileReader, PassageReader]:
    """made: tells a plan from one that was at this place before."""
    return pa.ipc.open_file(pa.memory_map(f"{directory}/{_UNITS}")), PassageReader(Path(directory, _PASSAGES))


def _write_units(path: Path, candidates: Candidates, unit_pairs: int) -> None:
    """One record batch a unit."""
    ends = np.concatenate(([0], np.cumsum(candidates.counts)))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        for first, last in cut_units(candidates.counts, unit_pairs):
            places = pa.ListArray.from_arrays(
                pa.array(ends[first : last + 1] - ends[first], pa.int32()),
                pa.array(candidates.places[ends[first] : ends[last]]),
            )
            columns = [candidates.query_ids[first:last], candidates.queries[first:last], places]
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))
