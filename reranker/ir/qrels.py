"""Relevance judgements: TREC's four columns, BEIR's three, or a table whose header says which column is which."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from reranker.errors import InvalidFile
from reranker.ir.columns import Column, Columns
from reranker.ir.fields import id_of, number_of
from reranker.ir.formats import Format, format_of
from reranker.ir.lines import columns_of, iter_lines
from reranker.ir.locations import Location, redacted
from reranker.ir.tables import iter_records

Qrels = dict[str, dict[str, int]]  # query_id -> docid -> grade

MAX_GRADE = 1_000_000  # measures take memory in proportion to it, and scores are wrong from 2**31 on

_COLUMNS = Columns(
    Column("query_id", ("query_id qid", "topic topic_id query", "_id id")),
    Column("docid", ("corpus_id docid doc_id docno", "pid passage_id document_id")),
    Column("grade", ("grade", "relevance rel label", "score")),
    Column("iteration", ("iteration iter",), needed=False),
)
_TREC = ("query_id", "iteration", "docid", "grade")
_BEIR = ("query_id", "docid", "grade")
_ITERATION = re.compile(r"[Qq]?\d+")


class Judgement(NamedTuple):
    """One judgement, with its line or row number."""

    line: int
    query_id: str
    docid: str
    grade: int


def read_qrels(location: Location) -> Qrels:
    """Grades by query and docid, in file order. Raises InvalidFile."""
    qrels: Qrels = {}
    for line, query_id, docid, grade in _judgements(location):
        of_query = qrels.setdefault(query_id, {})
        if docid in of_query:
            raise InvalidFile(redacted(location), f"passage {docid!r} occurs twice for query {query_id!r}", line)
        of_query[docid] = grade
    if not qrels:
        raise InvalidFile(redacted(location), "has no judgements")
    return qrels


def _judgements(location: Location) -> Iterator[Judgement]:
    file_format = format_of(location)
    in_lines = file_format in (None, Format.TSV)  # TREC's qrels often have the ending .tsv or none
    for line, row in _line_rows(location) if in_lines else iter_records(location, _COLUMNS):
        query_id, docid = (id_of(location, line, row, field) for field in ("query_id", "docid"))
        grade = number_of(location, line, row["grade"], "grade")
        if grade != int(grade) or abs(grade) > MAX_GRADE:
            problem = f"grade must be a whole number from {-MAX_GRADE} to {MAX_GRADE}, got {row['grade']}"
            raise InvalidFile(redacted(location), problem, line)
        yield Judgement(line, query_id, docid, int(grade))


def _line_rows(location: Location) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row) of a file of columns between tabs or spaces; its first line says which is which."""
    names: tuple[str, ...] = ()
    for line, text in iter_lines(location):
        cells = columns_of(text)
        if not names:
            names, is_header = _layout(location, line, cells)
            if is_header:
                continue
        if len(cells) != len(names):
            problem = f"has {len(cells)} columns where {len(names)} are expected: {' '.join(names)}"
            raise InvalidFile(redacted(location), problem, line)
        row = dict(zip(names, cells, strict=True))
        if names is _TREC and not _ITERATION.fullmatch(row["iteration"]):
            problem = (
                f"has {row['iteration']!r} where `qid 0 docid grade` has 0 or Q0: if its columns have another order, "
                "put a first line there with their names, such as `query_id docid relevance iteration`"
            )
            raise InvalidFile(redacted(location), problem, line)
        yield line, row


def _layout(location: Location, line: int, cells: list[str]) -> tuple[tuple[str, ...], bool]:
    """(names of the columns, whether this line is the header)."""
    if _COLUMNS.count_known(cells) > 1:
        try:
            found = _COLUMNS.find(cells)
        except ValueError as error:
            raise InvalidFile(redacted(location), str(error), line) from None
        return tuple(found.get(cell, cell) for cell in cells), True
    if len(cells) not in (3, 4):
        problem = f"has {len(cells)} columns, expected `query-id corpus-id score` or `qid 0 docid grade`"
        raise InvalidFile(redacted(location), problem, line)
    return (_BEIR if len(cells) == 3 else _TREC), False
