"""Reads the small JSON files of a checkpoint. A file that is missing says nothing; a damaged one is an error.

A checkpoint whose prompt or head stands in a damaged file would be run without it, and its scores would be wrong.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reranker.errors import CheckpointError


def read_object(path: Path) -> dict[str, Any]:
    """Empty without the file. Raises CheckpointError for one that is no JSON object."""
    content = _read(path)
    if content is not None and not isinstance(content, dict):
        raise CheckpointError(f"{path} is no JSON object: copy the checkpoint's own file again")
    return content or {}


def read_objects(path: Path) -> list[dict[str, Any]]:
    """A list of objects; empty without the file. Raises CheckpointError for one that is no such list."""
    content = _read(path)
    if content is None:
        return []
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise CheckpointError(f"{path} is no JSON list of objects: copy the checkpoint's own file again")
    return content


def _read(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise CheckpointError(f"{path} is not readable as JSON: copy the checkpoint's own file again") from None
