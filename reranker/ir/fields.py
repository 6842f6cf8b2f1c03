"""Checks the values of rows: ids, texts, numbers. Every error names file and line."""

from __future__ import annotations

import math

from reranker.errors import InvalidFile
from reranker.ir.json_rows import Record
from reranker.ir.locations import Location, redacted
from reranker.text import well_formed
from reranker.types import Passage


def id_of(location: Location, line: int, row: Record, field: str = "_id") -> str:
    """A row's id as text; integers are converted. Raises InvalidFile."""
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        problem = f"`{field}` must be a string that is not empty, got {value!r}"
        raise InvalidFile(redacted(location), problem[:200], line)
    name = str(value)
    if name.split() != [name]:
        problem = f"`{field}` {value!r} contains spaces, which a TREC run cannot hold"
        raise InvalidFile(redacted(location), problem, line)
    if well_formed(name) != name:
        raise InvalidFile(redacted(location), f"`{field}` {value!r} contains a lone surrogate", line)
    return name


def query_of(location: Location, line: int, row: Record, field: str = "text") -> str:
    """A row's query, which must not be blank. Raises InvalidFile."""
    query = text_of(location, line, row, field)
    if not query.strip():
        query_id = row.get("query_id", row.get("_id"))
        raise InvalidFile(redacted(location), f"query {str(query_id)!r} is empty", line)
    return query


def passage_of(location: Location, line: int, row: Record) -> Passage:
    """A row's `text`, which may be empty, and its `title` if it has one. Raises InvalidFile."""
    return Passage(text_of(location, line, row, "text"), text_of(location, line, row, "title", default=""))


def text_of(location: Location, line: int, row: Record, field: str, default: str | None = None) -> str:
    """A row's text, with lone surrogates replaced. Raises InvalidFile."""
    value = row.get(field, default)
    if value is None:
        value = default
    if not isinstance(value, str):
        raise InvalidFile(redacted(location), f"`{field}` must be a string, got {value!r}"[:200], line)
    return well_formed(value)


def number_of(location: Location, line: int, value: object, name: str) -> float:
    """A finite number, also one that is written as text. Raises InvalidFile."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    in_python_only = isinstance(value, bool) or (isinstance(value, str) and "_" in value)  # True is 1, 1_0 is 10
    if in_python_only or not math.isfinite(number):
        raise InvalidFile(redacted(location), f"{name} must be a finite number, got {value!r}"[:200], line)
    return number
