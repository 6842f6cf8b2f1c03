"""How many tokens of a query and of a passage a pair keeps. Knows nothing of tokenizers."""

import numpy as np
from numpy.typing import NDArray


def longest_first(
    query_tokens: int, passage_tokens: NDArray[np.int64], budget: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many tokens of the query and of each passage a pair keeps, both int64 (pairs,).

    If the shorter side fits in half the budget, only the longer one is cut. Otherwise each gets half; an odd token
    goes to the longer side, or to the passage when both are equally long.
    Source: Hugging Face's `longest_first` (tokenizers, `truncate_encodings`).
    """
    query = np.full_like(passage_tokens, query_tokens)
    short, long = np.minimum(query, passage_tokens), np.maximum(query, passage_tokens)
    long_kept = np.where(short + long <= budget, long, np.maximum(short, budget - short))
    both = short + long_kept > budget
    short_kept = np.where(both, budget // 2, short)
    long_kept = np.where(both, budget // 2 + budget % 2, long_kept)
    query_is_longer = query > passage_tokens
    return (
        np.where(query_is_longer, long_kept, short_kept),
        np.where(query_is_longer, short_kept, long_kept),
    )


def only_passage(
    query_tokens: int, passage_tokens: NDArray[np.int64], budget: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `longest_first`, but only passages are cut, and the query where it would leave no token to them.

    Source: Hugging Face's `only_second`.
    """
    query = np.full_like(passage_tokens, min(query_tokens, budget - 1))
    return query, np.minimum(passage_tokens, budget - query)
