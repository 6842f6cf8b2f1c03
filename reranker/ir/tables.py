"""Reads rows of a jsonl, json, csv, tsv or parquet file, gzipped or not, on this machine or in an object store.

The error of a single row goes to `on_bad`, which raises it unless the caller collects bad rows; an error of the whole
file is always raised. Knows which columns it looks for, and nothing of what they mean.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from reranker.errors import InvalidFile
from reranker.ir.columns import Columns
from reranker.ir.delimited import delimited_records
from reranker.ir.formats import SEPARATORS, Format, format_of, looks_like
from reranker.ir.json_rows import Record, array_records, begins_array, line_records
from reranker.ir.lines import OnBad, decoded_lines, filled_lines, iter_lines, opened, refuse
from reranker.ir.locations import Location, endings, is_url, one_line, redacted

_PARQUET_BATCH_ROWS = 4_096
_MAX_KNOWN_KEYS = 1_000  # sets of keys whose columns are remembered: rows of one file mostly have the same keys


def iter_records(
    location: Location,
    columns: Columns,
    on_bad: OnBad = refuse,
    *,
    bare: bool = False,
    file_format: Format | None = None,
    stream: io.BufferedReader | None = None,
) -> Iterator[tuple[int, Record]]:
    """(line or row number from 1, record) of a file; known columns have the names that `columns` gives them.

    Row numbers are those of parquet files and of json arrays. bare: allow MS MARCO's tsv without a header.
    file_format: what the file is, whatever its name says. stream: read instead, if `location` is only its name.
    Raises InvalidFile, also when the name or the header leaves open what the rows are.
    """
    file_format = file_format or format_of(location)
    if file_format is None or file_format is Format.TEXT:
        raise _no_format(location, columns)
    if file_format is Format.PARQUET:
        if stream is not None:
            raise InvalidFile(redacted(location), "parquet cannot be read from a pipe: give the file by its name")
        yield from _parquet_records(location, columns)
    elif file_format in SEPARATORS:
        with opened(location, stream) as file:
            lines = decoded_lines(location, file, on_bad)
            yield from delimited_records(location, file_format, lines, columns, on_bad, bare=bare)
    else:
        yield from _named(location, _json_records(location, file_format, on_bad, stream), columns, on_bad)


def _no_format(location: Location, columns: Columns) -> InvalidFile:
    """Raises what reading its first line raises."""
    _, first = next(iter_lines(location))
    guess = looks_like(first, columns)
    like = f", and looks like {guess}" if guess else ""
    return InvalidFile(
        redacted(location),
        f"has no ending that says its format{like}: name it .jsonl, .json, .csv, .tsv or .parquet (.gz may follow)",
    )


def _json_records(
    location: Location, file_format: Format, on_bad: OnBad, stream: io.BufferedReader | None
) -> Iterator[tuple[int, Record]]:
    with opened(location, stream) as file:
        if file_format is Format.JSON and begins_array(file.peek()):
            yield from array_records(location, file, on_bad)
        else:
            yield from line_records(location, filled_lines(location, file, on_bad), on_bad)


def _named(
    location: Location, rows: Iterator[tuple[int, Record]], columns: Columns, on_bad: OnBad
) -> Iterator[tuple[int, Record]]:
    """Each row with the columns' own names; a row that lacks one, or has two of them, is bad."""
    known: dict[tuple[str, ...], dict[str, str] | str] = {}
    for number, row in rows:
        keys = tuple(row)
        found = known.get(keys)
        if found is None:
            try:
                found = columns.find(keys)
            except ValueError as error:
                found = str(error)
            if len(known) < _MAX_KNOWN_KEYS:
                known[keys] = found
        if isinstance(found, str):
            on_bad(InvalidFile(redacted(location), found, number), row)
        elif all(name == column for name, column in found.items()):
            yield number, row
        else:
            yield number, {found.get(name, name): value for name, value in row.items()}


def _parquet_records(location: Location, columns: Columns) -> Iterator[tuple[int, Record]]:
    if endings(location)[-1:] == [".gz"]:
        raise InvalidFile(redacted(location), "cannot be read as parquet inside gzip: unpack it with gunzip")
    row = 0
    try:
        with contextlib.ExitStack() as stack:
            if is_url(location):
                filesystem, path = pa.fs.FileSystem.from_uri(str(location))
                source = stack.enter_context(filesystem.open_input_file(path))
            else:
                source = Path(location)
            file = stack.enter_context(pq.ParquetFile(source))
            try:
                found = columns.find(file.schema_arrow.names)
            except ValueError as error:
                raise InvalidFile(redacted(location), str(error)) from None
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS, columns=list(found)):
                for record in batch.to_pylist():
                    row += 1
                    yield row, {found[name]: value for name, value in record.items()}
    except FileNotFoundError:
        raise InvalidFile(redacted(location), "no such file") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidFile(redacted(location), f"cannot be read as parquet: {one_line(error)}") from None
    if not row:
        raise InvalidFile(redacted(location), "is empty")
