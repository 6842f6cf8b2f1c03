"""Queries, corpora, runs and qrels. Reading is strict, and every error names file and line.

Ids are `str`; integers are converted. Rows may be jsonl, tsv (MS MARCO's collection and queries as published) or
parquet: see records.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reranker.errors import InvalidFile
from reranker.files import write_atomically
from reranker.ir.records import Location, OnBad, Record, iter_lines, iter_records, redacted, refuse
from reranker.pairs import FloatArray
from reranker.text import well_formed
from reranker.types import Passage

Run = dict[str, list[str]]  # query_id -> docids, best first
Qrels = dict[str, dict[str, int]]  # query_id -> docid -> grade

_QUERY_TSV = {2: ("_id", "text")}
_PASSAGE_TSV = {2: ("_id", "text"), 3: ("_id", "title", "text")}
_RUN_FORM = "qid Q0 docid rank score tag"
_LOWEST_SCORE = np.float32(-1e38)


class RunLine(NamedTuple):
    """One candidate of a first-stage run, with its line number."""

    line: int
    query_id: str
    docid: str
    score: float


def iter_queries(location: Location, on_bad: OnBad = refuse) -> Iterator[tuple[int, str, str]]:
    """(line, query_id, query) in file order, from rows with `_id` and `text`. Raises InvalidFile."""
    for line, row in iter_records(location, ("_id", "text"), on_bad, tsv=_QUERY_TSV):
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
    for line, row in iter_records(location, ("_id", "title", "text"), on_bad, tsv=_PASSAGE_TSV):
        try:
            docid, passage = id_of(location, line, row), passage_of(location, line, row)
        except InvalidFile as error:
            on_bad(error, row)
        else:
            yield line, docid, passage


def iter_run(location: Location, on_bad: OnBad = refuse) -> Iterator[RunLine]:
    """The lines of a TREC run (`qid Q0 docid rank score tag`) in file order. Raises InvalidFile."""
    for line, text in iter_lines(location, on_bad):
        columns = text.split()
        try:
            if len(columns) != 6:
                raise InvalidFile(redacted(location), f"has {len(columns)} columns, expected 6: {_RUN_FORM}", line)
            score = _number(location, line, columns[4], "score")
        except InvalidFile as error:
            on_bad(error, text)
        else:
            yield RunLine(line, columns[0], columns[2], score)


def read_queries(path: Location) -> dict[str, str]:
    """query_id -> query. Raises InvalidFile."""
    queries: dict[str, str] = {}
    for line, query_id, query in iter_queries(path):
        if query_id in queries:
            raise InvalidFile(redacted(path), f"query {query_id!r} occurs twice", line)
        queries[query_id] = query
    return queries


def iter_corpus(path: Location) -> Iterator[tuple[str, Passage]]:
    """(docid, passage) in file order. Raises InvalidFile, also for a duplicate docid."""
    seen: set[str] = set()
    for line, docid, passage in iter_passages(path):
        if docid in seen:
            raise InvalidFile(redacted(path), f"passage {docid!r} occurs twice", line)
        seen.add(docid)
        yield docid, passage


def read_run(path: Location) -> Run:
    """A TREC run, queries in file order. Raises InvalidFile.

    Candidates are sorted by score, as trec_eval does; the rank column is ignored, and ties keep file order.
    """
    scores: dict[str, dict[str, float]] = {}
    for line, query_id, docid, score in iter_run(path):
        candidates = scores.setdefault(query_id, {})
        if docid in candidates:
            raise InvalidFile(redacted(path), f"passage {docid!r} occurs twice for query {query_id!r}", line)
        candidates[docid] = score
    return {query_id: sorted(docids, key=lambda docid: -docids[docid]) for query_id, docids in scores.items()}


def write_run(path: Path, rankings: Iterable[tuple[str, Iterable[str], FloatArray]], *, tag: str) -> None:
    """Write (query_id, docids, logits), best first, as a TREC run, atomically.

    Scores are the logits, with ties moved apart so that every tool ranks as we do.
    """

    def lines() -> Iterator[str]:
        for query_id, docids, logits in rankings:
            scores = strictly_decreasing(logits)
            for rank, (docid, score) in enumerate(zip(docids, scores, strict=True), 1):
                yield f"{query_id} Q0 {docid} {rank} {score!s} {tag}\n"

    write_atomically(path, lines())


def strictly_decreasing(logits: FloatArray) -> FloatArray:
    """Scores that strictly decrease in float32 (trec_eval's precision), as close to the logits as possible. Ours.

    logits: float32 (n,), finite and not increasing. Those below -1e38 are raised to it, to leave room below for ties.
    """
    scores = np.maximum(logits.astype(np.float32), _LOWEST_SCORE)
    for rank in range(1, len(scores)):
        if scores[rank] >= scores[rank - 1]:
            scores[rank] = np.nextafter(scores[rank - 1], np.float32(-np.inf))
    return scores


def read_qrels(path: Location) -> Qrels:
    """Grades from BEIR's tsv (a header, then query-id, corpus-id, score) or TREC's qrels. Raises InvalidFile."""
    qrels: Qrels = {}
    for line, text in iter_lines(path):
        columns = text.split()
        if line == 1 and columns[-1] == "score":
            continue
        if len(columns) not in (3, 4):
            raise InvalidFile(redacted(path), "expected `query-id corpus-id score` or `qid 0 docid grade`", line)
        query_id, docid, grade = columns[0], columns[-2], _number(path, line, columns[-1], "grade")
        if docid in qrels.setdefault(query_id, {}):
            raise InvalidFile(redacted(path), f"passage {docid!r} occurs twice for query {query_id!r}", line)
        if grade != int(grade):
            raise InvalidFile(redacted(path), f"grade {columns[-1]} is not a whole number", line)
        qrels[query_id][docid] = int(grade)
    if not qrels:
        raise InvalidFile(redacted(path), "has no judgements")
    return qrels


def id_of(path: Location, line: int, row: Record, field: str = "_id") -> str:
    """A row's id as text; integers are converted. Raises InvalidFile."""
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InvalidFile(redacted(path), f"`{field}` must be a string that is not empty, got {value!r}"[:200], line)
    name = str(value)
    if name.split() != [name]:
        raise InvalidFile(redacted(path), f"`{field}` {value!r} contains spaces, which a TREC run cannot hold", line)
    if well_formed(name) != name:
        raise InvalidFile(redacted(path), f"`{field}` {value!r} contains a lone surrogate", line)
    return name


def query_of(path: Location, line: int, row: Record, field: str = "text") -> str:
    """A row's query, which must not be blank. Raises InvalidFile."""
    query = text_of(path, line, row, field)
    if not query.strip():
        query_id = row.get("query_id", row.get("_id"))
        raise InvalidFile(redacted(path), f"query {str(query_id)!r} is empty", line)
    return query


def passage_of(path: Location, line: int, row: Record) -> Passage:
    """A row's `text`, which may be empty, and its `title` if it has one. Raises InvalidFile."""
    return Passage(text_of(path, line, row, "text"), text_of(path, line, row, "title", default=""))


def text_of(path: Location, line: int, row: Record, field: str, default: str | None = None) -> str:
    """A row's text, with lone surrogates replaced. Raises InvalidFile."""
    value = row.get(field, default)
    if value is None:
        value = default
    if not isinstance(value, str):
        raise InvalidFile(redacted(path), f"`{field}` must be a string, got {value!r}"[:200], line)
    return well_formed(value)


def _number(path: Location, line: int, text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidFile(redacted(path), f"{name} {text!r} is not a finite number", line)
    return number
