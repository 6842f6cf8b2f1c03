"""Truncation: the longer side is cut first, as Hugging Face cuts it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reranker.truncation import longest_first


@given(query=st.integers(0, 40), passages=st.lists(st.integers(0, 40), max_size=8), budget=st.integers(2, 30))
def test_longest_first_cuts_the_longer_side_down_to_half_before_the_shorter_one(
    query: int, passages: list[int], budget: int
) -> None:
    kept_queries, kept_passages = longest_first(query, np.array(passages, dtype=np.int64), budget)
    for passage, kept_query, kept_passage in zip(passages, kept_queries, kept_passages, strict=True):
        assert kept_query + kept_passage == min(query + passage, budget)
        # A cut side keeps at least half of the budget: the shorter one is cut only when both exceed half.
        assert kept_query in (query, budget // 2, budget - budget // 2, budget - passage)
        if min(query, passage) <= budget // 2:
            assert min(kept_query, kept_passage) == min(query, passage)


def test_odd_token_goes_to_the_longer_side_or_to_the_passage() -> None:
    queries, passages = longest_first(10, np.array([9, 10, 11, 2, 3, 1]), 5)
    assert queries.tolist() == [3, 2, 2, 3, 3, 4]
    assert passages.tolist() == [2, 3, 3, 2, 2, 1]


def test_pair_that_fits_exactly_is_not_cut() -> None:
    queries, passages = longest_first(3, np.array([2, 3, 4]), 6)
    assert (queries.tolist(), passages.tolist()) == ([3, 3, 3], [2, 3, 3])
