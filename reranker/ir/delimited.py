"""Rows of csv and tsv files.

With a header, cells may be quoted as csv quotes them, in both formats: DPR's tsv is, and any spreadsheet.
A tsv file without a header is MS MARCO's form: an id and a text, in which a quote is a quote.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from reranker.errors import InvalidFile
from reranker.ir.columns import Columns
from reranker.ir.formats import SEPARATORS, Format, cells_of_header, looks_like
from reranker.ir.lines import OnBad
from reranker.ir.locations import Location, redacted

Lines = Iterator[tuple[int, str]]
Cells = Iterator[tuple[int, list[str]]]

_SHOWN_CHARACTERS = 60
_MAX_QUOTED_CHARACTERS = 2**24  # in a cell that spans lines: bounds the memory that a forgotten quote can take


def delimited_records(
    location: Location, file_format: Format, lines: Lines, columns: Columns, on_bad: OnBad, *, bare: bool
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, record) of every row. lines: with their endings. bare: allow MS MARCO's tsv without a header.

    Raises InvalidFile for an empty file, a header that does not say which column is which, and a quote that is never
    closed.
    """
    separator = SEPARATORS[file_format]
    first = next(((number, text) for number, text in lines if text.strip()), None)
    if first is None:
        raise InvalidFile(redacted(location), "is empty")
    number, text = first
    names = cells_of_header(text, separator)
    if bare and file_format is Format.TSV and len(names) == 2 and _is_id(names[0]):
        keys = ["_id", "text"]
        rows: Cells = ((at, row.rstrip("\r\n").split(separator)) for at, row in chain([first], lines) if row.strip())
    elif columns.count_known(names):
        try:
            found = columns.find(names)
        except ValueError as error:
            raise InvalidFile(redacted(location), str(error), number) from None
        keys = [found.get(name, name) for name in names]
        rows = _quoted_rows(location, lines, separator, on_bad)
    else:
        raise InvalidFile(redacted(location), _no_header(text, file_format, columns, bare=bare), number)
    for number, cells in rows:
        if len(cells) == len(keys):
            yield number, dict(zip(keys, cells, strict=True))
        else:
            problem = f"has {len(cells)} columns where {len(keys)} are expected: {' '.join(keys)}"
            on_bad(InvalidFile(redacted(location), problem, number), separator.join(cells))


def _is_id(cell: str) -> bool:
    """One word with a digit in it, which no column's name has."""
    return cell.split() == [cell] and any(character.isdigit() for character in cell)


def _no_header(text: str, file_format: Format, columns: Columns, *, bare: bool) -> str:
    if (guess := looks_like(text, columns)) is not None:
        return f"looks like {guess}: name it .{guess}"
    shown = text.rstrip("\r\n")[:_SHOWN_CHARACTERS]
    count = text.count(SEPARATORS[file_format]) + 1
    alone = " (without one, only a tsv of two columns is read: an id with a digit in it, and a text)" if bare else ""
    return (
        f"has {count} columns and no header that says which is which, but {shown!r}: "
        f"put a first line there with the columns' names, such as {columns.header}{alone}"
    )


def _quoted_rows(location: Location, lines: Lines, separator: str, on_bad: OnBad) -> Cells:
    """The rows' cells, unquoted. A quoted cell may hold separators, line endings, and quotes written twice."""
    for number, text in lines:
        if not text.strip():
            continue
        if '"' not in text:
            yield number, text.rstrip("\r\n").split(separator)
            continue
        try:
            cells = _cells(number, text, separator, lines)
        except ValueError as error:
            on_bad(InvalidFile(redacted(location), str(error), number), text)
        except EOFError as error:  # where the row ends, and so where the next one begins, is not known
            raise InvalidFile(redacted(location), str(error), number) from None
        else:
            yield number, cells


def _cells(number: int, text: str, separator: str, lines: Lines) -> list[str]:
    """The cells of the row that begins with this line; reads on in `lines` as long as a quote is open.

    Raises ValueError for a cell that is not quoted as csv quotes, EOFError for a quote that is never closed.
    """
    cells = []
    at = 0
    while True:
        if text.startswith('"', at):
            cell, number, text, at = _quoted_cell(number, text, at + 1, separator, lines)
            cells.append(cell)
        else:
            end = text.find(separator, at)
            cell = text[at:].rstrip("\r\n") if end < 0 else text[at:end]
            if cell.lstrip().startswith('"'):
                raise ValueError(f"has a space before a quote, at {cell[:_SHOWN_CHARACTERS]!r}: leave it out")
            cells.append(cell)
            at += len(cell)
        if not text[at:].rstrip("\r\n"):
            return cells
        if text[at] != separator:
            raise ValueError(
                f"has text after a closing quote, at {text[at : at + _SHOWN_CHARACTERS]!r}: in a quoted cell, write "
                "each quote twice; or write jsonl"
            )
        at += 1


def _quoted_cell(number: int, text: str, at: int, separator: str, lines: Lines) -> tuple[str, int, str, int]:
    """(the cell after an opening quote, number and text of the line that closes it, the place behind it there)."""
    parts: list[str] = []
    characters = 0
    while (end := _closing_quote(text, at)) < 0:
        parts.append(text[at:])
        characters += len(text)
        number, at = number + 1, 0
        following, text = next(lines, (0, ""))
        if following != number or characters > _MAX_QUOTED_CHARACTERS:  # the file's end, or a line that is not UTF-8
            raise EOFError("has a quote that is not closed: close it, or write jsonl")
    cell = "".join([*parts, text[at:end]])
    if parts and separator == "\t" and separator in cell:
        # Where quotes are not csv's, these are two rows whose texts begin and end with a quote.
        raise EOFError("has a quote that is not closed on its line and a tab before the next one: write csv or jsonl")
    return cell.replace('""', '"'), number, text, end + 1


def _closing_quote(text: str, at: int) -> int:
    """Index of the quote that closes a cell, -1 if it is not on this line."""
    while (at := text.find('"', at)) >= 0 and text.startswith('""', at):
        at += 2
    return at
