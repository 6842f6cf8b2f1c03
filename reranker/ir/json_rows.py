"""Rows of jsonl files, and of json files that are one array of objects, which may be larger than memory."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from reranker.errors import InvalidFile
from reranker.ir.lines import MAX_ROW_BYTES, OnBad
from reranker.ir.locations import Location, redacted

Record = dict[str, Any]

_CHUNK_BYTES = 2**20
_SPACE = re.compile(r"[ \t\r\n]*")
_CUT_CHARACTERS = 16  # an error this close to the end of what was read may be a literal or an escape cut in two


def begins_array(head: bytes) -> bool:
    """Whether a file with these first bytes is one array. `[1]` on a line of its own may still be a row of jsonl."""
    return head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")


def line_records(location: Location, lines: Iterator[tuple[int, str]], on_bad: OnBad) -> Iterator[tuple[int, Record]]:
    """(line number, record) of lines that are one object each."""
    for line, text in lines:
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            on_bad(InvalidFile(redacted(location), f"is not JSON: {error}", line), text)
            continue
        if isinstance(record, dict):
            yield line, record
        else:
            problem = "must be one JSON object per line (an array of objects has the ending .json)"
            on_bad(InvalidFile(redacted(location), problem, line), text)


def array_records(location: Location, file: io.BufferedReader, on_bad: OnBad) -> Iterator[tuple[int, Record]]:
    """(row number from 1, record) of one array of objects, of which one is in memory at a time.

    Raises InvalidFile where it is not JSON, because the rest cannot be found then.
    """
    row = 0
    for row, element in enumerate(_Array(location, file).elements(), 1):
        if isinstance(element, dict):
            yield row, element
        else:
            on_bad(InvalidFile(redacted(location), "must be an array of JSON objects", row), element)
    if not row:
        raise InvalidFile(redacted(location), "is empty")


class _Array:
    """Decodes the elements of an array from a window of the file's text."""

    def __init__(self, location: Location, file: io.BufferedReader) -> None:
        self._location, self._file = location, file
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._line, self._ended = "", 0, 1, False

    def elements(self) -> Iterator[object]:
        self._skip("[")
        if self._next() == "]":
            self._at += 1
        else:
            while True:
                yield self._element()
                if self._next() == "]":
                    self._at += 1
                    break
                self._skip(",")
        if self._next():
            raise self._error("has text after the array")

    def _element(self) -> object:
        self._next()
        size = _CHUNK_BYTES
        while True:
            try:
                element, end = json.JSONDecoder().raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                whole = error.pos < len(self._text) - _CUT_CHARACTERS and not error.msg.startswith("Unterminated")
                if whole or self._ended:
                    raise self._error(f"is not JSON: {error.msg}", error.pos) from None
            except (ValueError, RecursionError) as error:
                raise self._error(f"is not JSON: {error}") from None
            else:
                if end < len(self._text) or self._ended:  # else a number may go on
                    self._advance(end)
                    return element
            if len(self._text) - self._at > MAX_ROW_BYTES:
                raise self._error(f"has an element longer than {MAX_ROW_BYTES >> 20} MiB")
            self._read(size)
            size *= 2  # so that decoding a long element again and again takes linear time

    def _skip(self, expected: str) -> None:
        if self._next() != expected:
            raise self._error(f"is not JSON: expected {expected!r} in its array")
        self._at += 1

    def _next(self) -> str:
        """The next character that is no space, "" at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._advance(self._at if space is None else space.end())
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read(_CHUNK_BYTES)

    def _advance(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _read(self, size: int) -> None:
        data = self._file.read(size)
        self._ended = len(data) < size
        try:
            more = self._utf8.decode(data, final=self._ended)
        except UnicodeDecodeError:
            raise self._error("is not UTF-8") from None
        self._text, self._at = self._text[self._at :] + more, 0

    def _error(self, problem: str, at: int | None = None) -> InvalidFile:
        line = self._line + (0 if at is None else self._text.count("\n", self._at, at))
        return InvalidFile(redacted(self._location), problem, line)
