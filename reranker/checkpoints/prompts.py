"""Prompts and chat templates that a checkpoint carries and its template does not apply: its users must be told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reranker.checkpoints.json_files import read_object
from reranker.prompt import BARE, PromptTemplate

_CROSS_ENCODER_FILES = ("config_sentence_transformers.json", "config.json")
_CHAT_TEMPLATE_FILES = ("tokenizer_config.json", "chat_template.json", "processor_config.json")


def prompts_warning(*directories: Path, template: PromptTemplate = BARE) -> str | None:
    """Names what the template does not apply; None if there is nothing. Raises CheckpointError for a damaged file.

    A template that is no pair of texts counts as the chat template: it was made from it, or by whoever knows it.
    """
    carried = list(dict.fromkeys(name for directory in directories for name in _carried(directory, template)))
    if not carried:
        return None
    return f"carries prompts that are not applied ({'; '.join(carried)}): if it needs them, put them into the query"


def _carried(directory: Path, template: PromptTemplate) -> Iterator[str]:
    for file in _CROSS_ENCODER_FILES:
        content = read_object(directory / file)
        for settings in (content, content.get("sentence_transformers")):
            yield from _prompts(settings if isinstance(settings, dict) else {}, file, template)
    if template.special_tokens != "pair":
        return
    for file in _CHAT_TEMPLATE_FILES:
        if read_object(directory / file).get("chat_template"):
            yield f"chat template of {file}"
    for pattern in ("chat_template.jinja", "additional_chat_templates/*.jinja"):
        for path in sorted(directory.glob(pattern)):
            if path.stat().st_size:
                yield f"chat template {path.relative_to(directory)}"


def _prompts(settings: dict[str, Any], file: str, template: PromptTemplate) -> Iterator[str]:
    prompts, default = settings.get("prompts"), settings.get("default_prompt_name")
    if not isinstance(prompts, dict):
        return
    applied = template.instruction or "", template.query("")
    for name, text in prompts.items():
        if text and text not in applied:
            yield f"{'default prompt' if name == default else 'prompt'} {name!r} of {file}"
