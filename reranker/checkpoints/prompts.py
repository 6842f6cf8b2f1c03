"""Prompts and chat templates that a checkpoint carries. They are not applied, so whoever serves it must be told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CROSS_ENCODER_FILES = ("config_sentence_transformers.json", "config.json")
_CHAT_TEMPLATE_FILES = ("tokenizer_config.json", "chat_template.json", "processor_config.json")


def prompts_warning(*directories: Path) -> str | None:
    """Names what is not applied; None if there is nothing. Files that cannot be read count as without prompts."""
    carried = list(dict.fromkeys(name for directory in directories for name in _carried(directory)))
    if not carried:
        return None
    return f"carries prompts that are not applied ({'; '.join(carried)}): if it needs them, put them into the query"


def _carried(directory: Path) -> Iterator[str]:
    for file in _CROSS_ENCODER_FILES:
        content = _object(directory / file)
        for settings in (content, content.get("sentence_transformers")):
            yield from _prompts(settings if isinstance(settings, dict) else {}, file)
    for file in _CHAT_TEMPLATE_FILES:
        if _object(directory / file).get("chat_template"):
            yield f"chat template of {file}"
    for pattern in ("chat_template.jinja", "additional_chat_templates/*.jinja"):
        for path in sorted(directory.glob(pattern)):
            if path.stat().st_size:
                yield f"chat template {path.relative_to(directory)}"


def _prompts(settings: dict[str, Any], file: str) -> Iterator[str]:
    prompts, default = settings.get("prompts"), settings.get("default_prompt_name")
    if isinstance(prompts, dict):
        for name, text in prompts.items():
            if text:
                yield f"{'default prompt' if name == default else 'prompt'} {name!r} of {file}"


def _object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
