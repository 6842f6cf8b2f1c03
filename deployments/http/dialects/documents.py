"""What only JSON dialects do with documents: content parts, objects of any fields, and giving a document back.

How a document is parsed is the same for every caller: see `reranker.documents`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from reranker.documents import parse_documents
from reranker.errors import InvalidField
from reranker.types import Candidate

_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # the C one is ten times as fast
_MAX_YAML_CHARS = 2**20  # 10 to 30 ms, in which nothing else runs
_NO_WRAP = 2**31 - 1
# What YAML writes as it stands: text without punctuation that means something to YAML, and none of its constants.
_PLAIN = re.compile(
    r"""(?!(?:true|false|yes|no|on|off|null)$)[^\W\d_](?:[\w ,.;()/'"!?+%&*@$=|<>{}\[\]-]|:(?![ ]|$))*(?<! )""",
    re.IGNORECASE,
)


def read_documents(
    field: str, documents: Sequence[Any], rank_fields: Sequence[str] | None = None, *, any_fields: bool = False
) -> tuple[Candidate, ...]:
    """Strings, or objects {id, title, text}, or {content} with parts of type text.

    rank_fields: of any object, the text of these fields. any_fields: of an object without `text`, all its strings.
    Raises InvalidField naming the first document that has no text to read.
    """
    if rank_fields:
        documents = [_ranked_text(f"{field}.{n}", document, rank_fields) for n, document in enumerate(documents)]
    elif any(isinstance(document, Mapping) and "text" not in document for document in documents):
        documents = [_as_text(f"{field}.{n}", document, any_fields) for n, document in enumerate(documents)]
    return parse_documents(documents, field, int_ids=True, extra_fields=True)


def echo(document: Any) -> dict[str, Any]:
    """A document as Cohere v1, Jina and vLLM give it back: an object, with `text` where a string came."""
    return dict(document) if isinstance(document, Mapping) else {"text": document}


def read_query(value: Any, field: str) -> str:
    """A string, or an object of which `text_of` is one. Raises InvalidField."""
    if isinstance(value, Mapping):
        return text_of(value, field)
    if not isinstance(value, str):
        raise InvalidField(field, f"must be a string, got {type(value).__name__}")
    return value


def text_of(value: Mapping[str, Any], field: str) -> str:
    """The text of {"text": ...} or {"content": [parts]}. Raises InvalidField."""
    text = value.get("text")
    if text is None and isinstance(value.get("content"), list):
        return _joined(value["content"], f"{field}.content")
    if not isinstance(text, str):
        raise InvalidField(f"{field}.text", 'must be a string: send a string, or {"text": ...}')
    return text


def as_yaml(fields: Mapping[str, str]) -> str:
    """One line for each field, in their order, as Cohere advises for documents of several fields."""
    if all(_PLAIN.fullmatch(name) and _PLAIN.fullmatch(text) for name, text in fields.items()):
        return "\n".join(f"{name}: {text}" for name, text in fields.items())
    dumped: str = yaml.dump(
        dict(fields), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_NO_WRAP, default_flow_style=False
    )
    return dumped.rstrip("\n")


def _ranked_text(field: str, document: Any, rank_fields: Sequence[str]) -> Any:
    if not isinstance(document, Mapping):
        return document
    values = [document.get(name) for name in rank_fields]
    texts = [str(value) for value in values if isinstance(value, str | int | float) and not isinstance(value, bool)]
    if not texts:
        raise InvalidField(field, f"has none of the rank_fields {list(rank_fields)!r:.200} as text")
    return {"id": document.get("id"), "text": " ".join(texts)}


def _as_text(field: str, document: Any, any_fields: bool) -> Any:
    """An object without `text` as one that has it, if it has other text."""
    if not isinstance(document, Mapping) or "text" in document:
        return document
    if isinstance(document.get("content"), list):
        return {**document, "text": text_of(document, field)}
    if not any_fields or "image" in document:  # the address of an image is not what the client wants ranked
        return document
    texts = {name: value for name, value in document.items() if isinstance(value, str)}
    if sum(map(len, texts.values())) > _MAX_YAML_CHARS:
        problem = f"has more than {_MAX_YAML_CHARS} characters in its fields: send what is to be read as text"
        raise InvalidField(field, problem)
    return {"id": document.get("id"), "text": as_yaml(texts)} if texts else document


def _joined(parts: Sequence[Any], field: str) -> str:
    texts = []
    for number, part in enumerate(parts):
        text = part.get("text") if isinstance(part, Mapping) and part.get("type", "text") == "text" else None
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise InvalidField(f"{field}.{number}", f"only text can be ranked, got a part of type {kind!r:.80}")
        texts.append(text)
    return "\n".join(texts)
