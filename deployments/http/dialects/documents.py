"""What only JSON dialects do with documents: Cohere v1's `rank_fields`, and giving a document back.

How a document is parsed is the same for every caller: see `reranker.documents`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from reranker.documents import parse_documents
from reranker.errors import InvalidField
from reranker.types import Candidate


def read_documents(
    field: str, documents: Sequence[Any], rank_fields: Sequence[str] | None = None
) -> tuple[Candidate, ...]:
    """Strings, or objects {id, title, text}; of any other object, the text of its `rank_fields`.

    Raises InvalidField naming the first document that has no text to read.
    """
    if rank_fields:
        documents = [_ranked_text(f"{field}.{n}", document, rank_fields) for n, document in enumerate(documents)]
    return parse_documents(documents, field, int_ids=True, extra_fields=True)


def echo(document: Any) -> dict[str, Any]:
    """A document as Cohere v1, Jina and vLLM give it back: an object, with `text` where a string came."""
    return dict(document) if isinstance(document, Mapping) else {"text": document}


def _ranked_text(field: str, document: Any, rank_fields: Sequence[str]) -> Any:
    if not isinstance(document, Mapping):
        return document
    texts = [document[name] for name in rank_fields if isinstance(document.get(name), str)]
    if not texts:
        raise InvalidField(field, f"has none of the rank_fields {list(rank_fields)!r:.200} as text")
    return {"id": document.get("id"), "text": " ".join(texts)}
