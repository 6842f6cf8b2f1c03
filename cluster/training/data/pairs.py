"""Read queries with their relevant passages: pairs (one file per source) or a collection with qrels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa

from reranker.errors import InvalidFile
from reranker.ir.columns import Column, Columns
from reranker.ir.qrels import read_qrels
from reranker.ir.tables import iter_records
from reranker.ir.texts import iter_passages, iter_queries
from reranker.types import Passage

_COLUMNS = Columns(
    Column("query_id", ("query_id", "id"), needed=False),
    Column("query", ("query", "question anchor")),
    Column("positive", ("positive", "passage answer")),
    Column("negatives", ("negatives", "negative"), needed=False),
)


@dataclass(slots=True)
class Labelled:
    """Queries, a corpus without repeated passages, and which passages are labelled for which query.

    labels: per query, passage position -> label: above 0 for relevant, 0 for a passage known not to be.
    """

    query_ids: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    labels: list[dict[int, float]] = field(default_factory=list)
    docids: list[str] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    _position_of: dict[Passage, int] = field(default_factory=dict)
    _query_of: dict[str, int] = field(default_factory=dict)

    def corpus(self) -> pa.Table:
        return pa.table(
            {
                "docid": pa.array(self.docids, pa.string()),
                "title": pa.array([passage.title for passage in self.passages], pa.string()),
                "text": pa.array([passage.text for passage in self.passages], pa.string()),
            }
        )

    def add_passage(self, docid: str, passage: Passage) -> int:
        """Its position; the same for a passage with the same title and text."""
        position = self._position_of.setdefault(passage, len(self.passages))
        if position == len(self.passages):
            self.docids.append(docid)
            self.passages.append(passage)
        return position

    def add_query(self, query_id: str, query: str) -> int:
        """Its number; the same for a query with the same text."""
        number = self._query_of.setdefault(query, len(self.queries))
        if number == len(self.queries):
            self.query_ids.append(query_id)
            self.queries.append(query)
            self.labels.append({})
        return number


def read_pairs(files: Sequence[Path], max_per_file: int | None = None) -> Labelled:
    """Read jsonl files of {query, positive, negatives?}; `positive` and each negative is a text or {title, text}.

    max_per_file: rows read of each file, from its beginning. Ids are the file's name and a number. Raises InvalidFile
    for a row that lacks a field, naming the line.
    """
    labelled = Labelled()
    for file in files:
        source = file.name.split(".")[0]
        for line, row in islice(iter_records(file, _COLUMNS), max_per_file):
            query = row.get("query")
            if not isinstance(query, str) or not query.strip():
                raise InvalidFile(file, f"`query` must be a text, got {query!r}"[:200], line)
            number = labelled.add_query(str(row.get("query_id") or f"{source}-{line}"), query)
            labels = labelled.labels[number]
            for label, passage in _labelled_passages(file, line, row):
                position = labelled.add_passage(f"{source}-{len(labelled.passages)}", passage)
                labels[position] = max(label, labels.get(position, 0.0))
    return labelled


def read_collection(queries: Path, corpus: Path, qrels: Path) -> Labelled:
    """Read a collection in BEIR's form. Raises InvalidFile, also where qrels name a passage that the corpus lacks."""
    judged = read_qrels(qrels)
    labelled, position_of = Labelled(), dict[str, int]()
    for line, docid, passage in iter_passages(corpus):
        if docid in position_of:
            raise InvalidFile(corpus, f"passage {docid!r} occurs twice", line)
        position_of[docid] = labelled.add_passage(docid, passage)
    for _, query_id, query in iter_queries(queries):
        if query_id not in judged:
            continue
        number = labelled.add_query(query_id, query)
        for docid, grade in judged[query_id].items():
            if docid not in position_of:
                raise InvalidFile(qrels, f"query {query_id!r} names passage {docid!r}, which {corpus} does not have")
            labelled.labels[number][position_of[docid]] = float(max(grade, 0))
    if not any(label > 0 for labels in labelled.labels for label in labels.values()):
        raise InvalidFile(
            qrels, f"judges no passage relevant to a query of {queries}: there is nothing to learn from"
        )
    return labelled


def _labelled_passages(file: Path, line: int, row: dict[str, object]) -> Iterator[tuple[float, Passage]]:
    yield 1.0, _passage(file, line, "positive", row.get("positive"))
    negatives = row.get("negatives") or []
    if not isinstance(negatives, list):
        raise InvalidFile(file, f"`negatives` must be a list, got {negatives!r}"[:200], line)
    for negative in negatives:
        yield 0.0, _passage(file, line, "negatives", negative)


def _passage(file: Path, line: int, name: str, value: object) -> Passage:
    if isinstance(value, str) and value.strip():
        return Passage(value)
    if isinstance(value, dict) and isinstance(text := value.get("text"), str) and text.strip():
        return Passage(text, str(value.get("title") or ""))
    raise InvalidFile(file, f"`{name}` must hold texts or objects with `text`, got {value!r}"[:200], line)
