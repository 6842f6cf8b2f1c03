"""Queries and passages, from tables in any format. Reading is strict; ids are `str`, and integers are converted."""

from __future__ import annotations

from collections.abc import Iterator

from reranker.errors import InvalidFile
from reranker.ir.columns import Column, Columns
from reranker.ir.fields import id_of, passage_of, query_of
from reranker.ir.lines import OnBad, refuse
from reranker.ir.locations import Location, redacted
from reranker.ir.tables import iter_records
from reranker.types import Passage

TITLE = Column("title", ("title",), needed=False)
TEXT = Column("text", ("text", "contents passage body"))  # contents: Pyserini
# The id of a passage before that of its document, because MS MARCO v2 has both.
PASSAGE_ID = ("id", "pid passage_id", "docid doc_id docno corpus_id document_id")
QUERY_ID = ("query_id qid", "id _id")

QUERIES = Columns(Column("_id", ("_id", "id", "query_id qid")), Column("text", ("text", "query question")))
PASSAGES = Columns(Column("_id", ("_id", *PASSAGE_ID)), TITLE, TEXT)


def iter_queries(location: Location, on_bad: OnBad = refuse) -> Iterator[tuple[int, str, str]]:
    """(line, query_id, query) in file order, from rows with `_id` and `text`. Raises InvalidFile."""
    for line, row in iter_records(location, QUERIES, on_bad, bare=True):
        try:
            query_id, query = id_of(location, line, row), query_of(location, line, row)
        except InvalidFile as error:
            on_bad(error, row)
        else:
            yield line, query_id, query


def iter_passages(location: Location, on_bad: OnBad = refuse) -> Iterator[tuple[int, str, Passage]]:
    """(line, docid, passage) in file order, from rows with `_id`, `text` and optionally `title`. Raises InvalidFile.

    Memory does not grow with the file: the caller checks for duplicate docids.
    """
    for line, row in iter_records(location, PASSAGES, on_bad, bare=True):
        try:
            docid, passage = id_of(location, line, row), passage_of(location, line, row)
        except InvalidFile as error:
            on_bad(error, row)
        else:
            yield line, docid, passage


def read_queries(location: Location) -> dict[str, str]:
    """query_id -> query. Raises InvalidFile."""
    queries: dict[str, str] = {}
    for line, query_id, query in iter_queries(location):
        if query_id in queries:
            raise InvalidFile(redacted(location), f"query {query_id!r} occurs twice", line)
        queries[query_id] = query
    return queries


def iter_corpus(location: Location) -> Iterator[tuple[str, Passage]]:
    """(docid, passage) in file order. Raises InvalidFile, also for a duplicate docid."""
    seen: set[str] = set()
    for line, docid, passage in iter_passages(location):
        if docid in seen:
            raise InvalidFile(redacted(location), f"passage {docid!r} occurs twice", line)
        seen.add(docid)
        yield docid, passage
