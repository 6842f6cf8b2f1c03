"""Compares config.json with the one that was imported.

A changed activation or norm epsilon moves logits by less than half precision shows, so it is told from the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Names and versions: scores do not depend on them, and tools rewrite them.
_IRRELEVANT = frozenset({"architectures", "dtype", "id2label", "label2id", "torch_dtype", "transformers_version"})


def read_config(directory: Path) -> dict[str, Any]:
    """config.json of a checkpoint that has been loaded from it."""
    config: dict[str, Any] = json.loads((directory / "config.json").read_bytes())
    return config


def config_change(imported: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first key, by name, whose value has changed; None if none has."""
    for key in sorted(imported.keys() | now.keys()):
        if key in _IRRELEVANT or key.startswith("_"):
            continue
        if imported.get(key) != now.get(key):
            return f"config.json has {key} {now.get(key)!r} where the imported one had {imported.get(key)!r}"
    return None
