"""Score equal passages of a query once.

This saves work, and it keeps ties exact: within one batch, logits of equal pairs can differ in the last bit.
"""

from collections.abc import Sequence

import numpy as np

from reranker.pairs import IntArray
from reranker.types import Passage


def deduplicate(passages: Sequence[Passage]) -> tuple[list[Passage], IntArray]:
    """The unique passages in order of first appearance, and the index of each given passage among them.

    The indices are int32 (passages,), as of `np.unique`'s return_inverse: `[unique[i] for i in inverse] == passages`.
    """
    index_of: dict[Passage, int] = {}
    inverse = np.array([index_of.setdefault(passage, len(index_of)) for passage in passages], dtype=np.int32)
    return list(index_of), inverse
