"""Rows that a job skips: how many are allowed, and the dead-letter file that lists them with their reasons."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from reranker.errors import InvalidFile, TooManyBadRows
from reranker.ir.lines import OnBad

_SHOWN_CHARACTERS = 4_000


@dataclass(frozen=True, slots=True)
class BadRow:
    """One skipped row. `row` is its content, as far as it could be read; fields are None where unknown."""

    reason: str
    file: str | None = None
    line: int | None = None
    query_id: str | None = None
    docid: str | None = None
    row: str | None = None


class BadRows:
    """Counts bad rows against the limit; `count` is their number so far."""

    def __init__(self, limit: int, count: int = 0) -> None:
        self._limit, self.count = limit, count

    def admit(self, rows: Sequence[BadRow], problem: InvalidFile) -> None:
        """Count these rows. Raises TooManyBadRows, which describes `problem`, when the limit is exceeded."""
        self.count += len(rows)
        if rows and self.count > self._limit:
            raise TooManyBadRows(problem.path, problem.problem, problem.line, self.count, self._limit)

    def writing_to(self, path: Path) -> OnBad:
        """An `on_bad` callback for file readers, which counts a row and appends it to the dead-letter file."""

        def on_bad(error: InvalidFile, row: object) -> None:
            text = row if isinstance(row, str) else json.dumps(row, default=str, ensure_ascii=False)
            rows = [BadRow(error.problem, error.path, error.line, row=text[:_SHOWN_CHARACTERS])]
            self.admit(rows, error)
            append_bad_rows(path, rows)

        return on_bad


def append_bad_rows(path: Path, rows: Sequence[BadRow]) -> None:
    """Append rows to a jsonl dead-letter file, which is created with its first row."""
    if rows:
        with path.open("a", encoding="utf-8", errors="replace") as file:
            file.writelines(_line(row) for row in rows)
            file.flush()
            os.fsync(file.fileno())


def _line(row: BadRow) -> str:
    return json.dumps({name: value for name, value in asdict(row).items() if value is not None}) + "\n"
