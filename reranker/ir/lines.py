"""Reads lines of UTF-8 text files, gzipped or not.

The error of a single row goes to `on_bad`, which raises it unless the caller collects bad rows; an error of the whole
file is always raised. Knows nothing of what the lines mean.
"""

from __future__ import annotations

import contextlib
import gzip
import io
from collections.abc import Callable, Iterator
from typing import cast

from reranker.errors import InvalidFile
from reranker.ir.formats import is_gzip, not_text
from reranker.ir.locations import Location, as_invalid_file, opened_raw, redacted

OnBad = Callable[[InvalidFile, object], None]
"""Called for a bad row with its error, and with the row as far as it could be read."""

MAX_ROW_BYTES = 2**28
"""A longer line is no row of any real table: it would fill the memory before anything could be said about it."""


def refuse(error: InvalidFile, row: object) -> None:
    """An `on_bad` that raises the error."""
    raise error


@contextlib.contextmanager
def opened(location: Location, stream: io.BufferedReader | None = None) -> Iterator[io.BufferedReader]:
    """The decompressed bytes of a text file, or of a stream that `location` names. Raises InvalidFile."""
    with as_invalid_file(location), contextlib.ExitStack() as stack:
        raw = stack.enter_context(opened_raw(location)) if stream is None else stream
        file = raw
        if is_gzip(location, raw.peek(2)):
            unzipped = stack.enter_context(gzip.GzipFile(fileobj=raw))
            file = io.BufferedReader(cast(io.RawIOBase, unzipped), 2**16)
        if problem := not_text(file.peek(16)):
            raise InvalidFile(redacted(location), problem)
        yield file


def decoded_lines(location: Location, file: io.BufferedReader, on_bad: OnBad = refuse) -> Iterator[tuple[int, str]]:
    """(line number from 1, text) of every line, blank ones too, with its ending and without a byte order mark."""
    for number, raw in enumerate(iter(lambda: file.readline(MAX_ROW_BYTES), b""), 1):
        if len(raw) == MAX_ROW_BYTES:
            problem = f"is longer than {MAX_ROW_BYTES >> 20} MiB: is this the right file?"
            raise InvalidFile(redacted(location), problem, number)
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            on_bad(InvalidFile(redacted(location), "is not UTF-8", number), raw.decode("utf-8", "replace"))
        else:
            yield number, text


def iter_lines(
    location: Location, on_bad: OnBad = refuse, stream: io.BufferedReader | None = None
) -> Iterator[tuple[int, str]]:
    """(line number from 1, text) of every line that is not blank. Spaces and tabs are kept.

    stream: what to read instead, if `location` is only its name. Raises InvalidFile, also for an empty file.
    """
    with opened(location, stream) as file:
        yield from filled_lines(location, file, on_bad)


def filled_lines(location: Location, file: io.BufferedReader, on_bad: OnBad) -> Iterator[tuple[int, str]]:
    """`iter_lines` of decompressed bytes."""
    number, empty = 0, True
    for number, text in decoded_lines(location, file, on_bad):
        if text.strip():
            empty = False
            yield number, text.rstrip("\r\n")
    if empty:
        raise InvalidFile(redacted(location), "is empty")


def columns_of(text: str) -> list[str]:
    """The columns of a TREC line: split at tabs alone if it has any, so that a space stays inside its column."""
    text = text.strip()
    return [cell.strip() for cell in text.split("\t")] if "\t" in text else text.split()
