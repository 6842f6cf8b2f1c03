"""Parse queries and documents as users write them, by the same rules in Python, over HTTP and on the command line.

Knows nothing of JSON, files or tokens. Rules that differ between callers are parameters; forms of one caller alone
(Cohere's `rank_fields`, a file's `_id`) are converted before they come here.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import get_args

from reranker.errors import EmptyField, InvalidField
from reranker.types import Candidate, Passage, RerankRequest, Truncation

Document = str | Mapping[str, str | None] | Candidate
Pair = tuple[str, Document] | list[str]
"""(query, passage), as sentence-transformers' CrossEncoder takes it."""

_FIELDS = ("id", "title", "text")
_FORM = 'must be a string or {"text": ..., "title": ..., "id": ...}'


def parse_document(
    document: object, field: str = "document", *, int_ids: bool = False, extra_fields: bool = False
) -> Candidate:
    """Parse a string, or a mapping with `text` and optionally `title` and `id`; a Candidate is returned unchanged.

    `text` is required and may be empty; a title or id of None counts as absent. field: name of the document in
    errors. int_ids: convert whole numbers to string ids. False refuses them, so that a hit's id is the one that was
    passed. extra_fields: ignore other fields, for HTTP clients that send metadata. False refuses them, because a
    misspelled `title` would silently change the score. Raises InvalidField.
    """
    if isinstance(document, str):
        return Candidate(Passage(document))
    if isinstance(document, Candidate):
        return document
    if not isinstance(document, Mapping):
        raise InvalidField(field, f"{_FORM}, got {_type_of(document)}")
    if not extra_fields and (unknown := set(document) - set(_FIELDS)):
        raise InvalidField(field, f"has unknown fields {sorted(map(str, unknown))}: use id, title and text")
    docid, title, text = (document.get(name) for name in _FIELDS)
    if text is None:
        raise InvalidField(f"{field}.text", "is missing: only text can be ranked; it may be empty")
    if not isinstance(text, str):
        raise InvalidField(f"{field}.text", f"must be a string, got {_type_of(text)}")
    if title is not None and not isinstance(title, str):
        raise InvalidField(f"{field}.title", f"must be a string, got {_type_of(title)}")
    if int_ids and isinstance(docid, int) and not isinstance(docid, bool):
        docid = str(docid)
    if docid is not None and not isinstance(docid, str):
        raise InvalidField(f"{field}.id", f"must be a string, got {_type_of(docid)}")
    return Candidate(Passage(text, title or ""), docid)


def parse_documents(
    documents: object, field: str = "documents", *, int_ids: bool = False, extra_fields: bool = False
) -> tuple[Candidate, ...]:
    """Parse each of a list; see `parse_document`. Raises InvalidField for the first one that is wrong."""
    return tuple(
        parse_document(document, f"{field}.{number}", int_ids=int_ids, extra_fields=extra_fields)
        for number, document in enumerate(checked_list(documents, field))
    )


def parse_query(query: object, documents: object, at: str = "") -> tuple[str, tuple[Candidate, ...]]:
    """Parse a query and its documents. at: suffix of the field names in errors, ".0" for the first of several.

    Raises InvalidField, or EmptyField for a query without text.
    """
    return checked_query(query, f"query{at}"), parse_documents(documents, f"documents{at}")


def parse_queries(queries: object, lists: object) -> list[tuple[str, tuple[Candidate, ...]]]:
    """Parse several queries and their lists of documents. Raises InvalidField for the first wrong argument."""
    if not isinstance(queries, list | tuple):
        raise InvalidField("query", f"must be a string or a list of strings, got {_type_of(queries)}")
    lists = checked_list(lists, "documents")
    if len(queries) != len(lists):
        problem = f"got {len(lists)} lists for {len(queries)} queries: pass one list of documents for each query"
        raise InvalidField("documents", problem)
    return [parse_query(*both, at=f".{n}") for n, both in enumerate(zip(queries, lists, strict=True))]


def parse_pairs(pairs: object, field: str = "pairs") -> tuple[list[tuple[str, Passage]], bool]:
    """Parse a list of (query, passage) pairs, or one pair alone. Returns the pairs, and whether it was one alone.

    Raises InvalidField for the first pair that is wrong.
    """
    items = checked_list(pairs, field)
    if items and isinstance(items[0], str):
        return [_parse_pair(items, field)], True
    return [_parse_pair(pair, f"{field}.{number}") for number, pair in enumerate(items)], False


def checked_query(query: object, field: str = "query") -> str:
    """Return the query. Raises EmptyField if it is empty or whitespace, InvalidField if it is no string."""
    if not isinstance(query, str):
        raise InvalidField(field, f"must be a string, got {_type_of(query)}")
    if not query.strip():
        raise EmptyField(field, "is empty: a query needs at least one character that is not a space")
    return query


def check_request(request: RerankRequest) -> None:
    """Raises EmptyField for a query without text, or if there are no documents."""
    if isinstance(request.query, str):
        checked_query(request.query)
    else:
        for number, query in enumerate(request.query):
            checked_query(query, f"queries.{number}")
    if not request.candidates:
        raise EmptyField("documents", "is empty: send at least one document")


def check_length(request: RerankRequest, limit: int) -> None:
    """Raises InvalidField if pairs are to be longer than `limit`, the tokens that the model reads."""
    if (got := request.max_pair_tokens) is not None and got > limit:
        problem = f"got {got}, but this model reads {limit} tokens of a pair: send at most so many"
        raise InvalidField("truncate_prompt_tokens", problem)


def check_top_n(top_n: object) -> None:
    """Raises InvalidField unless `top_n` is None or a positive whole number."""
    if top_n is None:
        return
    if isinstance(top_n, bool) or not isinstance(top_n, numbers.Integral) or top_n < 1:
        raise InvalidField("top_n", f"must be a whole number of at least 1, or None for all, got {top_n!r:.80}")


def check_truncation(truncation: object) -> None:
    """Raises InvalidField for anything but the names in Truncation."""
    if truncation not in get_args(Truncation):
        raise InvalidField("truncation", f"must be one of {', '.join(get_args(Truncation))}, got {truncation!r:.80}")


def checked_list(value: object, field: str) -> Sequence[object]:
    """Return a list, a tuple or another sequence. Raises InvalidField for other values, and says what to pass.

    Iterating a string, a mapping, a DataFrame or a single Candidate would rank its characters, keys, columns or
    fields; a set has no order, and a generator passed to a second call would be empty.
    """
    is_named_tuple = hasattr(value, "_fields")
    if isinstance(value, Sequence) and not isinstance(value, str | bytes) and not is_named_tuple:
        return value
    if isinstance(value, str | bytes | Mapping) or is_named_tuple:
        advice = "put it in a list"
    elif hasattr(value, "columns"):  # a DataFrame of pandas or polars
        advice = "pass its text column as a list, or its rows as a list of mappings with `text`"
    else:
        advice = "convert it to a list"
    raise InvalidField(field, f"must be a list, got {_type_of(value)}: {advice}")


def _parse_pair(pair: object, field: str) -> tuple[str, Passage]:
    if not isinstance(pair, list | tuple):
        raise InvalidField(field, f"must be a (query, passage) pair, got {_type_of(pair)}")
    if len(pair) != 2:
        raise InvalidField(field, f"must be a (query, passage) pair, got {len(pair)} values")
    query, passage = pair
    return checked_query(query, f"{field}.query"), parse_document(passage, f"{field}.passage").passage


def _type_of(value: object) -> str:
    return "None" if value is None else type(value).__name__
