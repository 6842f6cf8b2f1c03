"""API keys: what a key is, and the file that lists them. Knows nothing of HTTP, nor of how the file is changed.

A key is 256 random bits. The file holds its SHA-256 and never the key itself. A slow, salted hash, as passwords need,
would gain nothing: nobody can try 2^256 keys, however fast the hash, and no two keys are the same. A key is found by
the hash of what was presented. The time of that lookup may depend on the hash, but who asks cannot choose a hash
without inverting SHA-256, so the time says nothing of any other key.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import AwareDatetime, Field, PositiveInt, ValidationError, model_validator

from reranker.errors import InvalidFile
from reranker.settings import Settings

PREFIX = "rrk_"  # so that scanners for leaked secrets, and people, see what it is
_RANDOM_BYTES = 32
_OTHERS_MAY = 0o037  # the group may read: Kubernetes mounts a secret so, for a process that is not root

Role = Literal["score", "admin"]


class Key(Settings):
    """One key, without its secret."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$",
        description="Who uses it: 1 to 64 letters, digits or ._@-; the client in fair shares.",
    )
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the key, in hexadecimal.")
    role: Role = Field("score", description="'score' (rank, and see the pages), or 'admin' (the metrics as well).")
    tokens_per_minute: PositiveInt | None = Field(
        None, description="Max tokens of its requests in a minute, as admission estimates them; by default no limit."
    )
    created: AwareDatetime = Field(description="When it was made.")
    revoked: AwareDatetime | None = Field(None, description="Since when it is not accepted any more.")


class KeyList(Settings):
    """What a file of keys holds. Of keys with the same name at most one is not revoked."""

    keys: tuple[Key, ...] = ()

    @model_validator(mode="after")
    def _names_and_hashes_are_unique(self) -> Self:
        names, hashes = Counter(key.name for key in self.active), Counter(key.sha256 for key in self.keys)
        for what, counts in (("name", names), ("hash", hashes)):
            twice = [value for value, count in counts.items() if count > 1]
            if twice:
                raise ValueError(f"two keys have the {what} {twice[0]!r}: revoke or remove one")
        return self

    @property
    def active(self) -> tuple[Key, ...]:
        return tuple(key for key in self.keys if key.revoked is None)

    @property
    def by_hash(self) -> Mapping[str, Key]:
        """The keys that are accepted."""
        return {key.sha256: key for key in self.active}


class Version(NamedTuple):
    """Two versions of a file that are equal in all of this are the same."""

    modified_ns: int
    size: int
    inode: int
    mode: int


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def version_of(path: Path) -> Version | None:
    """None if the file is not there, or cannot be looked at."""
    try:
        return _version(path.stat())
    except OSError:
        return None


def read_keys(path: Path) -> KeyList:
    """Raises InvalidFile if it cannot be read, if others may read it, or if it is no list of keys."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _OTHERS_MAY:
                problem = f"has mode {mode:04o}, so others may read or change it: run `chmod 600` on it"
                raise InvalidFile(path, problem)
            content = file.read()
    except OSError as error:
        raise InvalidFile(path, f"cannot be read: {error.strerror or error}") from error
    try:
        return KeyList.model_validate_json(content)
    except ValidationError as failure:
        first = failure.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise InvalidFile(path, f"is not a list of keys: {where}: {' '.join(first['msg'].split())}") from None


def _version(status: os.stat_result) -> Version:
    return Version(status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode)
