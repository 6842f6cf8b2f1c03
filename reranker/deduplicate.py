"""Score equal passages of a query once.

This saves work, and it keeps ties exact: within one batch, logits of equal pairs can differ in the last bit.
"""

from collections.abc import Sequence

import numpy as np

from reranker.pairs import IntArray
from reranker.types import Passage, Query


def deduplicate(passages: Sequence[Passage]) -> tuple[list[Passage], IntArray]:
    """The unique passages in order of first appearance, and the index of each given passage among them.

    The indices are int32 (passages,), as of `np.unique`'s return_inverse: `[unique[i] for i in inverse] == passages`.
    """
    index_of: dict[Passage, int] = {}
    inverse = np.array([index_of.setdefault(passage, len(index_of)) for passage in passages], dtype=np.int32)
    return list(index_of), inverse


def deduplicate_pairs(query: Query, passages: Sequence[Passage]) -> tuple[Query, list[Passage], IntArray]:
    """The same for pairs, if each passage has a query of its own. Equal queries come to stand side by side."""
    if isinstance(query, str):
        return query, *deduplicate(passages)
    of_query: dict[str, list[int]] = {}
    for place, one in enumerate(query):
        of_query.setdefault(one, []).append(place)
    queries: list[str] = []
    unique: list[Passage] = []
    inverse = np.empty(len(passages), dtype=np.int32)
    for one, places in of_query.items():
        passages_of_query, inverse_of_query = deduplicate([passages[place] for place in places])
        inverse[places] = inverse_of_query + len(unique)
        queries += [one] * len(passages_of_query)
        unique += passages_of_query
    return tuple(queries), unique, inverse
