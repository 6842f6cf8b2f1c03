"""Read any of the three forms of input into queries and, for each, the stored positions of its candidates' passages.

The corpus is streamed, whatever its size; only passages that the first stage names are written to disk. Memory holds
three numbers per candidate, and the ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.batch.inputs.bad_rows import BadRow, BadRows, append_bad_rows
from cluster.batch.inputs.first_stage import FirstStage, Ranked
from cluster.batch.inputs.passages import PassageWriter
from cluster.batch.inputs.rows import CandidateRow, iter_pair_rows, iter_query_rows
from cluster.batch.settings import BatchSettings
from reranker.errors import InvalidFile
from reranker.ir.lines import OnBad
from reranker.ir.locations import redacted
from reranker.ir.runs import iter_run
from reranker.ir.texts import iter_passages, iter_queries
from reranker.pairs import OffsetArray

T = TypeVar("T")
OnProgress = Callable[[str], None]
"""Called with a line for the terminal, such as "reading passages: 50,000"."""

_CHUNK_ROWS = 32_768  # corpus rows per lookup: more are faster per row and take more memory


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of every query, grouped by query, best first.

    query_ids, queries: (queries,). counts: int64 (queries,), candidates per query, at least one. positions: int64
    (candidates,), positions of their passages in the store.
    """

    query_ids: list[str]
    queries: list[str]
    counts: OffsetArray
    positions: OffsetArray


def read_candidates(
    settings: BatchSettings, store: PassageWriter, bad: BadRows, dead_letters: Path, on_progress: OnProgress
) -> Candidates:
    """Read the inputs, write passages to the store and bad rows to the dead-letter file.

    Raises InvalidFile for a file that cannot be read or holds nothing to score, TooManyBadRows.
    """
    on_bad = bad.writing_to(dead_letters)
    if settings.run is None:
        return _from_table(settings, store, on_bad, on_progress)
    stage = FirstStage()
    for line, query_id, docid, score in _with_progress(iter_run(settings.run, on_bad), "run", on_progress):
        stage.add(line, query_id, docid, score)
    _refuse_empty(stage, settings.run)
    ranked = stage.ranked(settings.run, settings.depth, on_bad)
    query_ids = stage.query_ids
    queries = _read_queries(str(settings.queries), set(query_ids), on_bad)
    position_of = _read_corpus(str(settings.corpus), ranked, store, on_bad, on_progress)
    positions = position_of[ranked.docid]
    missing_queries = [query_id for query_id in query_ids if query_id not in queries]
    missing_passages = ranked.docids.filter(pa.array(position_of < 0)).to_pylist()
    _admit_missing(settings.run, missing_queries, missing_passages, bad, dead_letters)
    found = np.array([query_id in queries for query_id in query_ids], dtype=bool)
    kept = found[ranked.query] & (positions >= 0)
    if not kept.any():
        raise InvalidFile(redacted(settings.run), "none of its candidates is in the query and corpus files")
    return _candidates(query_ids, queries, ranked.query[kept], positions[kept])


def _from_table(settings: BatchSettings, store: PassageWriter, on_bad: OnBad, on_progress: OnProgress) -> Candidates:
    """A table holds its own texts: its nth candidate is stored at position n."""
    if settings.pairs is not None:
        location, read = settings.pairs, iter_pair_rows
    else:
        location, read = str(settings.candidates), iter_query_rows
    stage, queries = FirstStage(), dict[str, str]()
    scored: bool | None = None
    for row in _with_progress(read(location, on_bad), "rows", on_progress):
        scored = row.score is not None if scored is None else scored
        if problem := _contradiction(row, queries, scored=scored):
            on_bad(InvalidFile(redacted(location), problem, row.line), row._asdict())
            continue
        queries[row.query_id] = row.query
        stage.add(row.line, row.query_id, row.docid, row.score or 0.0)
        store.append(row.docid, row.passage)
    _refuse_empty(stage, location)
    ranked = stage.ranked(location, settings.depth, on_bad)
    return _candidates(stage.query_ids, queries, ranked.query, ranked.added)


def _contradiction(row: CandidateRow, queries: dict[str, str], *, scored: bool) -> str | None:
    """Why a row contradicts earlier ones, None if it does not."""
    if queries.get(row.query_id, row.query) != row.query:
        return f"query {row.query_id!r} has a different text in an earlier row"
    if (row.score is not None) is not scored:
        return "some rows have a first_stage_score and some have none: their order is not known"
    return None


def _refuse_empty(stage: FirstStage, location: str) -> None:
    if not stage.query_ids:
        raise InvalidFile(redacted(location), "has no candidates")


def _read_queries(location: str, wanted: set[str], on_bad: OnBad) -> dict[str, str]:
    queries: dict[str, str] = {}
    for line, query_id, query in iter_queries(location, on_bad):
        if query_id in queries:
            on_bad(InvalidFile(redacted(location), f"query {query_id!r} occurs twice", line), query)
        elif query_id in wanted:
            queries[query_id] = query
    return queries


def _read_corpus(
    location: str, ranked: Ranked, store: PassageWriter, on_bad: OnBad, on_progress: OnProgress
) -> OffsetArray:
    """Store the passages that the first stage names. Returns their positions, int64 (docids,), -1 if missing."""
    position_of = np.full(len(ranked.docids), -1, dtype=np.int64)
    rows = _with_progress(iter_passages(location, on_bad), "passages", on_progress)
    while chunk := list(islice(rows, _CHUNK_ROWS)):
        docids = pa.array([docid for _, docid, _ in chunk], pa.large_string())
        numbers = pc.index_in(docids, value_set=ranked.docids).fill_null(-1).to_numpy(zero_copy_only=False)
        for at in np.flatnonzero(numbers >= 0).tolist():
            line, docid, passage = chunk[at]
            if position_of[numbers[at]] >= 0:
                on_bad(InvalidFile(redacted(location), f"passage {docid!r} occurs twice", line), passage.text)
            else:
                position_of[numbers[at]] = store.append(docid, passage)
    return position_of


def _admit_missing(run: str, queries: list[str], passages: list[str], bad: BadRows, dead_letters: Path) -> None:
    """Count each query and each passage that is in the run but in no file as a bad row."""
    rows = [
        BadRow("this query of the run is not in the queries file", redacted(run), query_id=id_) for id_ in queries
    ]
    rows += [BadRow("this passage of the run is not in the corpus", redacted(run), docid=docid) for docid in passages]
    if rows:
        example = sorted(queries or passages)[0]
        problem = (
            f"names {len(queries)} queries and {len(passages)} passages that are in no file (such as {example!r})"
        )
        bad.admit(rows, InvalidFile(redacted(run), problem))
        append_bad_rows(dead_letters, rows)


def _candidates(
    query_ids: list[str], queries: dict[str, str], query: np.ndarray, positions: OffsetArray
) -> Candidates:
    """query: (candidates,), indices into query_ids in ascending order; queries without candidates are dropped."""
    numbers, counts = np.unique(query, return_counts=True)
    kept = [query_ids[number] for number in numbers.tolist()]
    return Candidates(kept, [queries[query_id] for query_id in kept], counts.astype(np.int64), positions)


def _with_progress(rows: Iterator[T], name: str, on_progress: OnProgress) -> Iterator[T]:
    for number, row in enumerate(rows, 1):
        if number % 50_000 == 0:
            on_progress(f"reading {name}: {number:,}")
        yield row
