"""Reads rows of a jsonl, tsv or parquet file, gzipped or not, on this machine or in an object store.

The error of a single row goes to `on_bad`, which raises it unless the caller collects bad rows; an error of the whole
file is always raised. Knows nothing of what the rows mean.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from reranker.errors import InvalidFile

Location = str | Path
"""A path on this machine, or a URL that pyarrow's filesystems support: s3://…, gs://…, hdfs://…"""

Record = dict[str, Any]
OnBad = Callable[[InvalidFile, object], None]
"""Called for a bad row with its error, and with the row as far as it could be read."""

_PARQUET_BATCH_ROWS = 4_096
_HASH_CHUNK_BYTES = 2**20
# AWS secrets may contain slashes, which make the URL malformed. A port is not a secret.
_USER = re.compile(r"://[^/@:]*(:(?!\d+/)[^@]*)?@")
_SIGNATURE = re.compile(r"([?&]sig=)[^&\s]*")


def refuse(error: InvalidFile, row: object) -> None:
    """An `on_bad` that raises the error."""
    raise error


def redacted(location: Location) -> str:
    """The location without the user, password and signature of a URL."""
    return _SIGNATURE.sub(r"\1…", _USER.sub("://", str(location)))


def suffixes(location: Location) -> list[str]:
    """('.jsonl', '.gz') for `s3://bucket/a.jsonl.gz?region=…`."""
    return Path(str(location).partition("?")[0]).suffixes if _is_url(location) else Path(location).suffixes


def iter_lines(location: Location, on_bad: OnBad = refuse) -> Iterator[tuple[int, str]]:
    """(line number from 1, text) of every line that is not blank. Spaces and tabs are kept.

    Raises InvalidFile, also for an empty file.
    """
    empty = True
    with _as_invalid_file(location), _opened(location) as file:
        for number, raw in enumerate(file, 1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                empty = False
                on_bad(InvalidFile(redacted(location), "is not UTF-8", number), raw.decode("utf-8", "replace"))
                continue
            if text.strip():
                empty = False
                yield number, text
    if empty:
        raise InvalidFile(redacted(location), "is empty")


def iter_records(
    location: Location,
    fields: Sequence[str],
    on_bad: OnBad = refuse,
    *,
    tsv: Mapping[int, Sequence[str]] | None = None,
) -> Iterator[tuple[int, Record]]:
    """(line or row number from 1, record) of a jsonl, tsv or parquet file.

    fields: the columns to read of a parquet file. A tsv file whose first line has two or more of them has a header.
    tsv: column names of a tsv file without a header, by the number of columns.
    """
    if ".parquet" in suffixes(location):
        yield from _parquet_records(location, fields)
    elif ".tsv" in suffixes(location):
        yield from _tsv_records(location, fields, on_bad, tsv or {})
    else:
        yield from _json_records(location, on_bad)


def _json_records(location: Location, on_bad: OnBad) -> Iterator[tuple[int, Record]]:
    for line, text in iter_lines(location, on_bad):
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            on_bad(InvalidFile(redacted(location), f"is not JSON: {error}", line), text)
            continue
        if isinstance(record, dict):
            yield line, record
        else:
            on_bad(InvalidFile(redacted(location), "must be one JSON object per line", line), text)


def _tsv_records(
    location: Location, fields: Sequence[str], on_bad: OnBad, by_count: Mapping[int, Sequence[str]]
) -> Iterator[tuple[int, Record]]:
    names: Sequence[str] | None = None
    for line, text in iter_lines(location, on_bad):
        columns = text.split("\t")
        if names is None:
            if len(set(columns) & set(fields)) > 1:
                names = columns
                continue
            names = by_count.get(len(columns))
            if names is None:
                forms = " or ".join("`" + " ".join(form) + "`" for form in by_count.values())
                header = f"a header line with some of {', '.join(fields)}"
                raise InvalidFile(
                    redacted(location),
                    f"has {len(columns)} columns, expected {f'{forms}, or ' if forms else ''}{header}",
                    line,
                )
        if len(columns) == len(names):
            yield line, dict(zip(names, columns, strict=True))
        else:
            problem = f"has {len(columns)} columns where {len(names)} are expected: {' '.join(names)}"
            on_bad(InvalidFile(redacted(location), problem, line), text)


def _parquet_records(location: Location, fields: Sequence[str]) -> Iterator[tuple[int, Record]]:
    row = 0
    try:
        with contextlib.ExitStack() as stack:
            if _is_url(location):
                filesystem, path = pa.fs.FileSystem.from_uri(str(location))
                source = stack.enter_context(filesystem.open_input_file(path))
            else:
                source = Path(location)
            file = stack.enter_context(pq.ParquetFile(source))
            names = [name for name in fields if name in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS, columns=names):
                for record in batch.to_pylist():
                    row += 1
                    yield row, record
    except FileNotFoundError:
        raise InvalidFile(redacted(location), "no such file") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidFile(redacted(location), f"cannot be read as parquet: {_one_line(error)}") from None
    if not row:
        raise InvalidFile(redacted(location), "is empty")


@contextlib.contextmanager
def opened_raw(location: Location) -> Iterator[IO[bytes]]:
    """The stored bytes of a file, not decompressed. Raises InvalidFile."""
    with _as_invalid_file(location):
        if _is_url(location):
            filesystem, path = pa.fs.FileSystem.from_uri(str(location))
            with filesystem.open_input_stream(path, compression=None) as stream:
                yield io.BufferedReader(stream, 2**20)
        else:
            with Path(location).open("rb") as file:
                yield file


def content_sha256(location: Location) -> str:
    """SHA-256 of a file's bytes. Raises InvalidFile."""
    with opened_raw(location) as file:
        digest = hashlib.sha256()
        while chunk := file.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def _opened(location: Location) -> Iterator[IO[bytes]]:
    with opened_raw(location) as raw:
        if suffixes(location)[-1:] == [".gz"]:
            with gzip.open(raw) as file:
                yield cast(IO[bytes], file)
        else:
            yield raw


@contextlib.contextmanager
def _as_invalid_file(location: Location) -> Iterator[None]:
    """Turns errors of the whole file into InvalidFile."""
    try:
        yield
    except InvalidFile:
        raise
    except FileNotFoundError:
        raise InvalidFile(redacted(location), "no such file") from None
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or _one_line(error)
        raise InvalidFile(redacted(location), f"cannot be read: {reason}") from None


def _is_url(location: Location) -> bool:
    return isinstance(location, str) and "://" in location


def _one_line(error: Exception) -> str:
    return redacted(" ".join(str(error).split()))[:200]
