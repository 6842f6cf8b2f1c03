"""Files that hold a checksum of themselves, so that a damaged one is known from the file alone.

A writer puts `SEAL` into the last object of the file's JSON; `seal` replaces its value by the checksum of all bytes.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

_NAME, _UNSEALED = "sha256", "0" * 64
_MARK = f'"{_NAME}": "'.encode()  # inside a JSON string, its quotes would be escaped

SEAL: dict[str, Any] = {_NAME: _UNSEALED}


def seal(contents: bytes) -> bytes:
    """The contents with their checksum in the last SEAL, which is not set yet."""
    before, _, after = _cut(contents)
    return before + hashlib.sha256(contents).hexdigest().encode() + after


def is_sealed(contents: bytes) -> bool:
    """Whether these are all the bytes that `seal` returned, unchanged."""
    before, checksum, after = _cut(contents)
    return hashlib.sha256(before + _UNSEALED.encode() + after).hexdigest().encode() == checksum


def json_object(contents: bytes) -> dict[str, Any]:
    """{} unless these are the bytes of a JSON object."""
    try:
        value = json.loads(contents)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _cut(contents: bytes) -> tuple[bytes, bytes, bytes]:
    """What is before the checksum, the checksum, and what follows it."""
    start = contents.rfind(_MARK) + len(_MARK)
    end = start + len(_UNSEALED)
    return contents[:start], contents[start:end], contents[end:]
