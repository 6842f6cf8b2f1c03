"""Read tables of candidates with texts: one row per candidate, or one row per query with lists of candidates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from reranker.errors import InvalidFile
from reranker.ir.columns import Column, Columns
from reranker.ir.fields import id_of, number_of, passage_of, query_of
from reranker.ir.json_rows import Record
from reranker.ir.lines import OnBad
from reranker.ir.locations import Location, redacted
from reranker.ir.tables import iter_records
from reranker.ir.texts import TEXT, TITLE
from reranker.types import Passage

_LIST_FIELDS = {"docid": "docids", "title": "titles", "text": "texts", "first_stage_score": "first_stage_scores"}
_OPTIONAL = ("title", "first_stage_score")

_QUERY = (Column("query_id", ("query_id", "qid")), Column("query", ("query",)))
_PAIRS = Columns(
    *_QUERY,
    Column("docid", ("docid", "pid passage_id", "doc_id docno")),
    TITLE,
    TEXT,
    Column("first_stage_score", ("first_stage_score",), needed=False),
)
_QUERIES = Columns(
    *_QUERY, *(Column(name, (name,), needed=field not in _OPTIONAL) for field, name in _LIST_FIELDS.items())
)


class CandidateRow(NamedTuple):
    """One candidate and its query. line: line or row number from 1. score: the first stage's, None if not given."""

    line: int
    query_id: str
    query: str
    docid: str
    passage: Passage
    score: float | None


def iter_pair_rows(location: Location, on_bad: OnBad) -> Iterator[CandidateRow]:
    """Read a table of query_id, query, docid, text, and optionally title and first_stage_score.

    Raises InvalidFile.
    """
    for line, row in iter_records(location, _PAIRS, on_bad):
        try:
            candidate = _candidate(location, line, row)
        except InvalidFile as error:
            on_bad(error, row)
        else:
            yield candidate


def iter_query_rows(location: Location, on_bad: OnBad) -> Iterator[CandidateRow]:
    """Read a table of query_id, query, docids, texts, and optionally titles and first_stage_scores.

    One bad candidate makes its whole row bad. Raises InvalidFile.
    """
    for line, row in iter_records(location, _QUERIES, on_bad):
        try:
            candidates = [_candidate(location, line, single) for single in _unfolded(location, line, row)]
        except InvalidFile as error:
            on_bad(error, row)
        else:
            yield from candidates


def _unfolded(location: Location, line: int, row: Record) -> Iterator[Record]:
    """Split a query's row into one row per candidate. Raises InvalidFile for lists that are wrong or unequal."""
    lists: dict[str, list[Any]] = {}
    for field, name in _LIST_FIELDS.items():
        values = row.get(name)
        if values is None and field in _OPTIONAL:
            continue
        if not isinstance(values, list):
            raise InvalidFile(redacted(location), f"`{name}` must be a list, got {values!r}"[:200], line)
        lists[field] = values
    if not lists["docid"]:
        raise InvalidFile(redacted(location), "`docids` is empty: a query needs candidates", line)
    lengths = {_LIST_FIELDS[field]: len(values) for field, values in lists.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidFile(redacted(location), f"its lists differ in length: {lengths}", line)
    for values in zip(*lists.values(), strict=True):
        yield dict(zip(lists, values, strict=True)) | {"query_id": row.get("query_id"), "query": row.get("query")}


def _candidate(location: Location, line: int, row: Record) -> CandidateRow:
    score = row.get("first_stage_score")
    return CandidateRow(
        line,
        id_of(location, line, row, "query_id"),
        query_of(location, line, row, "query"),
        id_of(location, line, row, "docid"),
        passage_of(location, line, row),
        None if score is None else number_of(location, line, score, "`first_stage_score`"),
    )
