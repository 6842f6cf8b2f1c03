"""Score equal passages of a query once.

It saves work, and it makes ties true: in one batch the same pair can differ in the last bit from row to row, and
copies of a document must not be told apart.
"""

from collections.abc import Sequence

import numpy as np

from reranker.pairs import IntArray
from reranker.types import Passage


def deduplicate(passages: Sequence[Passage]) -> tuple[list[Passage], IntArray]:
    """The passages without repetition, in order of first appearance, and for each given one its place among them.

    The places are int32 (passages,): `[unique[place] for place in places] == passages`.
    """
    place_of: dict[Passage, int] = {}
    places = np.array([place_of.setdefault(passage, len(place_of)) for passage in passages], dtype=np.int32)
    return list(place_of), places
