"""What a checkpoint that sentence-transformers saved says of itself: its score, its chat template, its prompt.

Source of the files' meaning: CrossEncoder of sentence-transformers 6.2. Files that are not there say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from reranker.checkpoints.hugging_face import as_checkpoint_error
from reranker.checkpoints.json_files import read_object, read_objects
from reranker.errors import CheckpointError
from reranker.prompt import BARE, Piece, PromptTemplate
from reranker.recipe import VOCABULARY_ID, Score

_TRANSFORMER = "Transformer"
_SCORES = frozenset({"LogitScore", "CausalScoreHead"})  # the second is the first one's name before version 5.4
# Stand for texts in a rendered chat template, with spaces that a template which trims them would lose.
_MARKS = {"query": " \ue000 ", "document": " \ue001 ", "instruction": " \ue002 "}


@dataclass(frozen=True, slots=True)
class OwnWords:
    """None where the files do not say. prompt: the default prompt, which CrossEncoder writes before the query.

    modules: names of the modules behind the transformer that are not known here.
    """

    score: Score | None = None
    prompt: str | None = None
    chat_options: Mapping[str, Any] | None = None
    modules: tuple[str, ...] = ()


def own_words(directory: Path) -> OwnWords:
    """What the files of a checkpoint say. Raises CheckpointError for one that is damaged."""
    score = None
    unknown = []
    for module in read_objects(directory / "modules.json"):
        kind = str(module.get("type", "")).rsplit(".", 1)[-1]
        if kind in _SCORES:
            score = _logit_score(directory / str(module.get("path", "")) / "config.json")
        elif kind != _TRANSFORMER:
            unknown.append(kind)
    options = read_object(directory / "sentence_bert_config.json").get("processing_kwargs")
    chat = options.get("chat_template") if isinstance(options, dict) else None
    return OwnWords(score, _default_prompt(directory), chat if isinstance(chat, dict) else None, tuple(unknown))


def own_length(directory: Path) -> int | None:
    """The most tokens of a pair, where sentence_bert_config.json says it; the tokenizer's own limit is not in it."""
    content = read_object(directory / "sentence_bert_config.json")
    options = content.get("processing_kwargs")
    text = options.get("text") if isinstance(options, dict) else None
    said = [text.get("max_length")] if isinstance(text, dict) else []
    for length in (*said, content.get("max_seq_length")):
        if isinstance(length, int) and not isinstance(length, bool) and length > 0:
            return length
    return None


def template_with_prompt(prompt: str) -> PromptTemplate:
    """A pair of texts, the query behind a prompt."""
    query = Piece(text=f"{_escaped(prompt)}{{query}}")
    return PromptTemplate(name="bare, with a prompt", pieces=(query, BARE.pieces[1]))


def template_of_chat(
    tokenizer: PreTrainedTokenizerBase, name: str, prompt: str | None, options: Mapping[str, Any] | None
) -> PromptTemplate:
    """The template that a chat template with the roles "query" and "document" writes, as one text.

    prompt: the content of a system message. Raises CheckpointError for a chat template that changes texts, or that
    has no place for one.
    """
    marked = _rendered(tokenizer, name, options, system=_MARKS["instruction"])
    plain = _rendered(tokenizer, name, options, system=prompt)
    instruction = _between(marked, plain, _MARKS["instruction"])
    text = _escaped(marked if instruction is not None else plain)
    for slot, mark in _MARKS.items():
        text = text.replace(mark, f"{{{slot}}}")
    if any(f"{{{slot}}}" not in text for slot in ("query", "document")) or any(
        mark.strip() in text for mark in _MARKS.values()
    ):
        raise CheckpointError(
            f"{name}: its chat template leaves out or changes the texts of query and document: give it a recipe"
        )
    return PromptTemplate(
        name="its chat template", pieces=(Piece(text=text),), special_tokens="none", instruction=instruction
    )


def _rendered(
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    options: Mapping[str, Any] | None,
    system: str | None,
) -> str:
    messages = [{"role": role, "content": _MARKS[role]} for role in ("query", "document")]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    with as_checkpoint_error(f"the chat template of {name}"):
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **(options or {})))


def _between(marked: str, plain: str, mark: str) -> str | None:
    """What stands in `plain` where `marked` has the mark; None if they differ elsewhere, or the mark is not there."""
    before, found, after = marked.partition(mark)
    if not found or mark in after or not plain.startswith(before) or not plain.endswith(after):
        return None
    return plain[len(before) : len(plain) - len(after)] if len(plain) >= len(before) + len(after) else None


def _logit_score(path: Path) -> Score:
    """Raises CheckpointError for a file that does not name one token, or two."""
    content = read_object(path)
    yes, no = content.get("true_token_id"), content.get("false_token_id")
    weights = [(yes, 1.0)] if no is None else [(yes, 1.0), (no, -1.0)]
    if (
        not all(isinstance(token, int) and not isinstance(token, bool) and token >= 0 for token, _ in weights)
        or yes == no
    ):
        raise CheckpointError(
            f"{path} must have a vocabulary id as true_token_id, and another one or null as false_token_id: its "
            "score is read from them"
        )
    return Score(kind="tokens", tokens={f"{VOCABULARY_ID}{token}": weight for token, weight in weights})


def _default_prompt(directory: Path) -> str | None:
    content = read_object(directory / "config_sentence_transformers.json")
    nested = read_object(directory / "config.json").get("sentence_transformers")
    for settings in (content, nested if isinstance(nested, dict) else {}):
        prompts, name = settings.get("prompts"), settings.get("default_prompt_name")
        if isinstance(prompts, dict) and isinstance(prompt := prompts.get(name), str) and prompt:
            return prompt
    return None


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
