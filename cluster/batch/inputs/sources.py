"""Three forms of input become one: queries by number, and for each the places of its candidates' passages.

The corpus streams by, however large it is; only passages that the first stage names go to disk. Memory holds three
numbers a candidate, and the ids.
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
from reranker.ir.records import OnBad, redacted
from reranker.ir.trec import iter_passages, iter_queries, iter_run
from reranker.pairs import OffsetArray

T = TypeVar("T")
Say = Callable[[str], None]
_CHUNK_ROWS = 32_768  # of the corpus: a larger chunk is looked up faster, and takes more memory


@dataclass(frozen=True, slots=True)
class Candidates:
    """query_ids, queries: (queries,). counts: int64 (queries,), candidates of each, at least one.

    places: int64 (candidates,), where the passages are in the store, query by query, best first.
    """

    query_ids: list[str]
    queries: list[str]
    counts: OffsetArray
    places: OffsetArray


def read_candidates(
    settings: BatchSettings, store: PassageWriter, bad: BadRows, dead_letters: Path, say: Say
) -> Candidates:
    """Read the inputs, put passages into the store, and bad rows into the dead letters; `say` hears of progress.

    Raises InvalidFile for a file that cannot be read or holds nothing to score, TooManyBadRows.
    """
    on_bad = bad.into(dead_letters)
    if settings.run is None:
        return _from_table(settings, store, on_bad, say)
    stage = FirstStage()
    for line, query_id, docid, score in _told(iter_run(settings.run, on_bad), "run", say):
        stage.add(line, query_id, docid, score)
    _refuse_none(stage, settings.run)
    ranked = stage.ranked(settings.run, settings.depth, on_bad)
    query_ids = stage.query_ids
    queries = _read_queries(str(settings.queries), set(query_ids), on_bad)
    place_of = _read_corpus(str(settings.corpus), ranked, store, on_bad, say)
    places = place_of[ranked.docid]
    lost_queries = [query_id for query_id in query_ids if query_id not in queries]
    lost_passages = ranked.docids.filter(pa.array(place_of < 0)).to_pylist()
    _admit_lost(settings.run, lost_queries, lost_passages, bad, dead_letters)
    found = np.array([query_id in queries for query_id in query_ids], dtype=bool)
    kept = found[ranked.query] & (places >= 0)
    if not kept.any():
        raise InvalidFile(redacted(settings.run), "none of its candidates is in the query and corpus files")
    return _candidates(query_ids, queries, ranked.query[kept], places[kept])


def _from_table(settings: BatchSettings, store: PassageWriter, on_bad: OnBad, say: Say) -> Candidates:
    """A table brings its own texts: what comes first is stored first."""
    if settings.pairs is not None:
        where, read = settings.pairs, iter_pair_rows
    else:
        where, read = str(settings.candidates), iter_query_rows
    stage, queries = FirstStage(), dict[str, str]()
    scored: bool | None = None
    for row in _told(read(where, on_bad), "rows", say):
        scored = row.score is not None if scored is None else scored
        if problem := _contradiction(row, queries, scored=scored):
            on_bad(InvalidFile(redacted(where), problem, row.line), row._asdict())
            continue
        queries[row.query_id] = row.query
        stage.add(row.line, row.query_id, row.docid, row.score or 0.0)
        store.append(row.docid, row.passage)
    _refuse_none(stage, where)
    ranked = stage.ranked(where, settings.depth, on_bad)
    return _candidates(stage.query_ids, queries, ranked.query, ranked.added)


def _contradiction(row: CandidateRow, queries: dict[str, str], *, scored: bool) -> str | None:
    """Why a row does not go with those before it."""
    if queries.get(row.query_id, row.query) != row.query:
        return f"query {row.query_id!r} has another text than in an earlier row"
    if (row.score is not None) is not scored:
        return "some rows have a first_stage_score and some have none: their order is not known"
    return None


def _refuse_none(stage: FirstStage, where: str) -> None:
    if not stage.query_ids:
        raise InvalidFile(redacted(where), "holds no candidate")


def _read_queries(where: str, wanted: set[str], on_bad: OnBad) -> dict[str, str]:
    queries: dict[str, str] = {}
    for line, query_id, query in iter_queries(where, on_bad):
        if query_id in queries:
            on_bad(InvalidFile(redacted(where), f"query {query_id!r} occurs twice", line), query)
        elif query_id in wanted:
            queries[query_id] = query
    return queries


def _read_corpus(where: str, ranked: Ranked, store: PassageWriter, on_bad: OnBad, say: Say) -> OffsetArray:
    """Store the passages that are named; int64 (docids,), the place of each, -1 for those that did not come."""
    place_of = np.full(len(ranked.docids), -1, dtype=np.int64)
    rows = _told(iter_passages(where, on_bad), "passages", say)
    while chunk := list(islice(rows, _CHUNK_ROWS)):
        docids = pa.array([docid for _, docid, _ in chunk], pa.large_string())
        numbers = pc.index_in(docids, value_set=ranked.docids).fill_null(-1).to_numpy(zero_copy_only=False)
        for at in np.flatnonzero(numbers >= 0).tolist():
            line, docid, passage = chunk[at]
            if place_of[numbers[at]] >= 0:
                on_bad(InvalidFile(redacted(where), f"passage {docid!r} occurs twice", line), passage.text)
            else:
                place_of[numbers[at]] = store.append(docid, passage)
    return place_of


def _admit_lost(run: str, queries: list[str], passages: list[str], bad: BadRows, dead_letters: Path) -> None:
    """Count what the run names and no file holds: one bad row a query, one a passage."""
    rows = [BadRow("the run names this query, and no file holds it", redacted(run), query_id=one) for one in queries]
    rows += [BadRow("the run names this passage, and no file holds it", redacted(run), docid=one) for one in passages]
    if rows:
        example = sorted(queries or passages)[0]
        problem = (
            f"names {len(queries)} queries and {len(passages)} passages that are in no file (such as {example!r})"
        )
        bad.admit(rows, InvalidFile(redacted(run), problem))
        append_bad_rows(dead_letters, rows)


def _candidates(query_ids: list[str], queries: dict[str, str], query: np.ndarray, places: OffsetArray) -> Candidates:
    """query: (candidates,), not decreasing; queries that no candidate belongs to are left out."""
    numbers, counts = np.unique(query, return_counts=True)
    kept = [query_ids[number] for number in numbers.tolist()]
    return Candidates(kept, [queries[query_id] for query_id in kept], counts.astype(np.int64), places)


def _told(rows: Iterator[T], what: str, say: Say) -> Iterator[T]:
    for number, row in enumerate(rows, 1):
        if number % 50_000 == 0:
            say(f"reading {what}: {number:,}")
        yield row
