"""Where a file is: a path on this machine or a URL of an object store. Opens its stored bytes.

Knows nothing of formats or compression. Errors never show credentials.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from reranker.errors import InvalidFile

Location = str | Path
"""A path on this machine, or a URL that pyarrow's filesystems support: s3://…, gs://…, hdfs://…"""

_HASH_CHUNK_BYTES = 2**20
# AWS secrets may contain slashes, which make the URL malformed. A port is not a secret.
_USER = re.compile(r"://[^/@:]*(:(?!\d+/)[^@]*)?@")
_SIGNATURE = re.compile(r"([?&]sig=)[^&\s]*")


def redacted(location: Location) -> str:
    """The location without the user, password and signature of a URL."""
    return _SIGNATURE.sub(r"\1…", _USER.sub("://", str(location)))


def is_url(location: Location) -> bool:
    return isinstance(location, str) and "://" in location


def endings(location: Location) -> list[str]:
    """['.jsonl', '.gz'] for `s3://bucket/a.JSONL.gz?region=…`: lower case, without the query of a URL."""
    path = Path(str(location).partition("?")[0]) if is_url(location) else Path(location)
    return [ending.lower() for ending in path.suffixes]


@contextlib.contextmanager
def opened_raw(location: Location) -> Iterator[io.BufferedReader]:
    """The stored bytes of a file, not decompressed. Raises InvalidFile."""
    with as_invalid_file(location):
        if is_url(location):
            with _opened_url(str(location)) as stream:
                yield stream
        else:
            with Path(location).open("rb") as file:
                yield file


@contextlib.contextmanager
def _opened_url(url: str) -> Iterator[io.BufferedReader]:
    import pyarrow as pa  # takes a quarter of a second, and most files are local
    import pyarrow.fs

    try:
        filesystem, path = pa.fs.FileSystem.from_uri(url)
        with filesystem.open_input_stream(path, compression=None) as stream:
            yield io.BufferedReader(stream, 2**20)
    except pa.ArrowException as error:
        if isinstance(error, OSError):
            raise
        raise InvalidFile(redacted(url), f"cannot be read: {one_line(error)}") from None


def content_sha256(location: Location) -> str:
    """SHA-256 of a file's bytes. Raises InvalidFile."""
    with opened_raw(location) as file:
        digest = hashlib.sha256()
        while chunk := file.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def as_invalid_file(location: Location) -> Iterator[None]:
    """Turns errors of the whole file into InvalidFile."""
    try:
        yield
    except InvalidFile:
        raise
    except FileNotFoundError:
        raise InvalidFile(redacted(location), "no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
        raise InvalidFile(redacted(location), f"cannot be read: {reason}") from None


def one_line(error: Exception) -> str:
    return redacted(" ".join(str(error).split()))[:200]
