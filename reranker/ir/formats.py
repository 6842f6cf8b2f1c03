"""Which format a file has: the ending of its name says it, in any case, and its content must not contradict.

`.gz` may follow any ending but parquet's.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum

from reranker.ir.columns import Columns
from reranker.ir.locations import Location, endings


class Format(StrEnum):
    """Formats of rows. TEXT is one passage per line, which only `reranker rerank` reads."""

    TEXT = "text"
    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"


SEPARATORS = {Format.CSV: ",", Format.TSV: "\t"}

_BY_ENDING = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSON,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".parquet": Format.PARQUET,
}
# First bytes of files that are no text, and what to do with them.
_BINARY = (
    (re.compile(rb"PAR1[\x00-\x1f]"), "is a parquet file: name it .parquet, without .gz"),
    (re.compile(rb"ARROW1\x00"), "is an Arrow file: write it as parquet"),
    (re.compile(rb"PK\x03\x04"), "is a zip archive or a spreadsheet: unpack it, or save it as csv"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "is compressed with zstd: decompress it, or compress it with gzip"),
    (re.compile(rb"BZh\d1AY&SY"), "is compressed with bzip2: decompress it, or compress it with gzip"),
    (re.compile(rb"\xfd7zXZ\x00"), "is compressed with xz: decompress it, or compress it with gzip"),
    (re.compile(rb"\x1f\x8b"), "is compressed twice with gzip: decompress it once"),
    (re.compile(rb"\xff\xfe|\xfe\xff"), "is UTF-16: convert it with `iconv -f UTF-16 -t UTF-8`"),
)


def format_of(location: Location) -> Format | None:
    """By the ending of the name, without `.gz`; None if it says nothing."""
    names = [ending for ending in endings(location)[-2:] if ending != ".gz"]
    return _BY_ENDING.get(names[-1]) if names else None


def is_gzip(location: Location, head: bytes) -> bool:
    """head: the first bytes stored. A file named .gz must be gzip; one with another name may be."""
    return endings(location)[-1:] == [".gz"] or head.startswith(b"\x1f\x8b")


def not_text(head: bytes) -> str | None:
    """What a file is whose decompressed content begins with these bytes, and what to do; None if it may be text."""
    return next((problem for magic, problem in _BINARY if magic.match(head)), None)


def looks_like(line: str, columns: Columns) -> Format | None:
    """The format of rows that a file with this first line seems to have; None if it seems to be plain text."""
    text = line.strip()
    if _is_object(text):
        return Format.JSONL
    if text in ("{", "[") or re.match(r'\{\s*"|\[\s*\{', text):  # the beginning of what spans lines
        return Format.JSON
    for file_format, separator in SEPARATORS.items():
        if columns.count_known(cells_of_header(text, separator)) > 1:
            return file_format
    return None


def cells_of_header(line: str, separator: str) -> list[str]:
    return [cell.strip().strip('"').strip() for cell in line.split(separator)]


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
