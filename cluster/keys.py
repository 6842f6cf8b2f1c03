"""Makes and revokes API keys in a file that replicas may be reading. Knows nothing of the command line."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from reranker.errors import CannotWrite, InvalidField
from reranker.files import write_atomically, write_errors
from reranker.keys import Key, KeyList, hash_of, new_secret, read_keys


def add_key(path: Path, name: str, role: str = "score", tokens_per_minute: int | None = None) -> str:
    """Returns the secret, which is kept nowhere. A file that is not there is made, for its owner alone.

    Raises InvalidField, InvalidFile, CannotWrite.
    """
    secret = new_secret()
    fields = {"name": name, "sha256": hash_of(secret), "role": role, "created": _now()}
    try:
        key = Key.model_validate(fields | {"tokens_per_minute": tokens_per_minute})
    except ValidationError as failure:
        error = failure.errors()[0]
        field = str(error["loc"][0])
        allowed = Key.model_fields[field].description
        raise InvalidField(field.replace("_", "-"), f"{error['input']!r} is not allowed. {allowed}") from None
    with _locked(path.parent):
        keys = read_keys(path).keys if path.exists() else ()
        if any(other.name == name and other.revoked is None for other in keys):
            raise InvalidField("name", f"{path} has a key {name!r}: revoke it first, or choose another name")
        _write(path, KeyList(keys=(*keys, key)))
    return secret


def revoke_key(path: Path, name: str) -> None:
    """Raises InvalidField for a name without a key, InvalidFile, CannotWrite."""
    with _locked(path.parent):
        keys = read_keys(path)
        if name not in {key.name for key in keys.active}:
            known = ", ".join(key.name for key in keys.active) or "none"
            raise InvalidField("name", f"{path} has no key {name!r} that is not revoked: those are {known}")
        revoked = {"revoked": _now()}
        _write(
            path,
            KeyList(
                keys=tuple(
                    key.model_copy(update=revoked) if key.name == name and key.revoked is None else key
                    for key in keys.keys
                )
            ),
        )


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _write(path: Path, keys: KeyList) -> None:
    """The mode of a file that is there stays: it was checked when it was read."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
    with write_errors(path):
        write_atomically(path, keys.model_dump_json(indent=1) + "\n", mode)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Wait for others that change a file there. The lock is the directory's: the file itself is replaced."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise CannotWrite(f"{directory} cannot be opened: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
