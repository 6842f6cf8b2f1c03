"""Files of the field: queries, corpora, runs and qrels. Reading is strict, and every complaint names file and line.

Ids are `str`; a column of integers is read as their decimal text. jsonl may be gzipped, parquet streams in batches.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reranker.errors import InvalidFile
from reranker.prompt import well_formed
from reranker.types import Candidate, FloatArray, Passage

Run = dict[str, list[str]]  # query_id -> docids, best first
Qrels = dict[str, dict[str, int]]  # query_id -> docid -> grade

_FIELDS = ("_id", "id", "title", "text")
_LOWEST_SCORE = np.float32(-1e38)


def read_queries(path: Path) -> dict[str, str]:
    """query_id -> query, from rows with `_id` and `text`. Raises InvalidFile."""
    queries: dict[str, str] = {}
    for line, row in _records(path):
        query_id, text = _id(path, line, row), _text(path, line, row, "text")
        if query_id in queries:
            raise InvalidFile(path, f"query {query_id!r} is there twice", line)
        if not text.strip():
            raise InvalidFile(path, f"query {query_id!r} is empty", line)
        queries[query_id] = text
    return queries


def iter_corpus(path: Path) -> Iterator[tuple[str, Passage]]:
    """(docid, passage) in file order, from rows with `_id`, `text` and optionally `title`. Raises InvalidFile."""
    seen: set[str] = set()
    for line, row in _records(path):
        docid = _id(path, line, row)
        if docid in seen:
            raise InvalidFile(path, f"passage {docid!r} is there twice", line)
        seen.add(docid)
        yield docid, Passage(_text(path, line, row, "text"), _text(path, line, row, "title", default=""))


def iter_documents(path: Path) -> Iterator[Candidate]:
    """Loose documents: rows with `text`, and optionally `title` and `_id` or `id`. Raises InvalidFile.

    Where a row has no id, its candidate is called `file:row`.
    """
    for line, row in _records(path):
        docid = row.get("_id", row.get("id"))
        passage = Passage(_text(path, line, row, "text"), _text(path, line, row, "title", default=""))
        yield Candidate(passage, f"{path}:{line}" if docid is None else str(docid))


def read_run(path: Path) -> Run:
    """A TREC run (`qid Q0 docid rank score tag`), queries in file order.

    Candidates are ordered by score, as TREC tools order them; the rank column is ignored, and ties keep file order.
    Raises InvalidFile.
    """
    scores: dict[str, dict[str, float]] = {}
    for line, columns in _columns(path, 6, "qid Q0 docid rank score tag"):
        query_id, _, docid, _, score, _ = columns
        of_query = scores.setdefault(query_id, {})
        if docid in of_query:
            raise InvalidFile(path, f"passage {docid!r} is there twice for query {query_id!r}", line)
        of_query[docid] = _number(path, line, score, "score")
    return {query_id: sorted(of_query, key=lambda docid: -of_query[docid]) for query_id, of_query in scores.items()}


def write_run(path: Path, rankings: Iterable[tuple[str, Iterable[str], FloatArray]], *, tag: str) -> None:
    """Write (query_id, docids, logits), best first, as a TREC run; the file appears whole or not at all.

    Scores are the logits, nudged apart where they tie, so that every tool ranks as we do.
    """

    def lines() -> Iterator[str]:
        for query_id, docids, logits in rankings:
            scores = strictly_decreasing(logits)
            for rank, (docid, score) in enumerate(zip(docids, scores, strict=True), 1):
                yield f"{query_id} Q0 {docid} {rank} {score!s} {tag}\n"

    write_atomically(path, lines())


def strictly_decreasing(logits: FloatArray) -> FloatArray:
    """Scores that fall strictly, even in float32 (trec_eval keeps no more), as near to the logits as can be.

    logits: float32 (n,), finite and not increasing. What lies below -1e38 is raised to it, so that ties have room.
    """
    scores = np.maximum(logits.astype(np.float32), _LOWEST_SCORE)
    for rank in range(1, len(scores)):
        if scores[rank] >= scores[rank - 1]:
            scores[rank] = np.nextafter(scores[rank - 1], np.float32(-np.inf))
    return scores


def read_qrels(path: Path) -> Qrels:
    """Grades from BEIR's tsv (a header, then query-id, corpus-id, score) or TREC's qrels. Raises InvalidFile."""
    qrels: Qrels = {}
    for line, text in _lines(path):
        columns = text.split()
        if line == 1 and columns[-1] == "score":
            continue
        if len(columns) not in (3, 4):
            raise InvalidFile(path, "expected `query-id corpus-id score` or `qid 0 docid grade`", line)
        query_id, docid, grade = columns[0], columns[-2], _number(path, line, columns[-1], "grade")
        if docid in qrels.setdefault(query_id, {}):
            raise InvalidFile(path, f"passage {docid!r} is there twice for query {query_id!r}", line)
        if grade != int(grade):
            raise InvalidFile(path, f"grade {columns[-1]} is not a whole number", line)
        qrels[query_id][docid] = int(grade)
    if not qrels:
        raise InvalidFile(path, "holds no judgements")
    return qrels


def write_atomically(path: Path, content: str | Iterable[str]) -> None:
    """The file is there whole or not at all, whatever happens in between."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines([content] if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line or row number from 1, record) of a jsonl or parquet file."""
    if path.suffix == ".parquet":
        yield from _parquet_records(path)
        return
    for line, text in _lines(path):
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidFile(path, f"is not JSON: {error}", line) from None
        if not isinstance(record, dict):
            raise InvalidFile(path, "must be one JSON object a line", line)
        yield line, record


def _parquet_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    row = 0
    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in _FIELDS if name in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=4096, columns=names):
                for record in batch.to_pylist():
                    row += 1
                    yield row, record
    except FileNotFoundError:
        raise InvalidFile(path, "no such file") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidFile(path, f"cannot be read as parquet: {' '.join(str(error).split())[:200]}") from None
    if not row:
        raise InvalidFile(path, "is empty")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, text) of every line that is not blank. Raises InvalidFile also for an empty file."""
    number = 0
    empty = True
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if text:
                    empty = False
                    yield number, text
    except FileNotFoundError:
        raise InvalidFile(path, "no such file") from None
    except UnicodeDecodeError:
        raise InvalidFile(path, "is not UTF-8", number) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise InvalidFile(path, f"cannot be read: {reason}") from None
    if empty:
        raise InvalidFile(path, "is empty")


def _columns(path: Path, count: int, form: str) -> Iterator[tuple[int, list[str]]]:
    for line, text in _lines(path):
        columns = text.split()
        if len(columns) != count:
            raise InvalidFile(path, f"has {len(columns)} columns, expected {count}: {form}", line)
        yield line, columns


def _number(path: Path, line: int, text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidFile(path, f"{name} {text!r} is not a finite number", line)
    return number


def _id(path: Path, line: int, row: dict[str, Any]) -> str:
    value = row.get("_id")
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InvalidFile(path, f"`_id` must be a string that is not empty, got {value!r}", line)
    if str(value).split() != [str(value)]:
        raise InvalidFile(path, f"`_id` {value!r} has spaces in it, which no TREC run can carry", line)
    return str(value)


def _text(path: Path, line: int, row: dict[str, Any], field: str, default: str | None = None) -> str:
    value = row.get(field, default)
    if value is None:
        value = default
    if not isinstance(value, str):
        raise InvalidFile(path, f"`{field}` must be a string, got {value!r}"[:200], line)
    return well_formed(value)
