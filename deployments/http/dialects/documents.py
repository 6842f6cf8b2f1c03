"""Documents as clients write them: strings, or objects.

Ours are `{"id", "title", "text"}`; Cohere v1's are any object, of which `rank_fields` names the fields to read.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from reranker.errors import InvalidField
from reranker.types import Candidate, Passage


def read_documents(
    field: str, documents: Sequence[Any], rank_fields: Sequence[str] | None = None
) -> tuple[Candidate, ...]:
    """Raises InvalidField naming the first document that has no text to read."""
    return tuple(_candidate(f"{field}.{n}", document, rank_fields) for n, document in enumerate(documents))


def echo(document: Any) -> dict[str, Any]:
    """A document as Cohere v1, Jina and vLLM give it back: an object, with `text` where a string came."""
    return dict(document) if isinstance(document, Mapping) else {"text": document}


def _candidate(place: str, document: Any, rank_fields: Sequence[str] | None) -> Candidate:
    if isinstance(document, str):
        return Candidate(Passage(document))
    if not isinstance(document, Mapping):
        raise InvalidField(place, f"must be a string or an object with `text`, got {type(document).__name__}")
    docid = document.get("id")
    if docid is not None and (isinstance(docid, bool) or not isinstance(docid, str | int)):
        raise InvalidField(f"{place}.id", "must be a string")
    docid = None if docid is None else str(docid)
    if rank_fields:
        values = [document[name] for name in rank_fields if isinstance(document.get(name), str)]
        if not values:
            raise InvalidField(place, f"has none of the rank_fields {list(rank_fields)} as text")
        return Candidate(Passage(" ".join(values)), docid)
    title, text = document.get("title"), document.get("text")
    if not isinstance(text, str):
        raise InvalidField(f"{place}.text", "must be a string: only text can be ranked")
    if title is not None and not isinstance(title, str):
        raise InvalidField(f"{place}.title", "must be a string")
    return Candidate(Passage(text, title or ""), docid)
