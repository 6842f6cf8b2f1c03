"""Deduplication: unique passages, and an index that restores the original list."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reranker.deduplicate import deduplicate, deduplicate_pairs
from reranker.types import Passage


@given(st.lists(st.builds(Passage, st.sampled_from("abc"), st.sampled_from(["", "a"]))))
def test_inverse_index_restores_every_passage(passages: list[Passage]) -> None:
    unique, inverse = deduplicate(passages)
    assert [unique[index] for index in inverse] == passages
    assert len(set(unique)) == len(unique)
    assert len(inverse) == len(passages)


@given(st.lists(st.tuples(st.sampled_from("qr"), st.builds(Passage, st.sampled_from("abc"))), min_size=1))
def test_inverse_index_restores_every_pair_and_equal_queries_are_neighbours(pairs: list[tuple[str, Passage]]) -> None:
    queries, passages = zip(*pairs, strict=True)
    unique_queries, unique, inverse = deduplicate_pairs(queries, passages)
    assert [(unique_queries[index], unique[index]) for index in inverse] == pairs
    assert len(set(zip(unique_queries, unique, strict=True))) == len(unique)
    assert sum(a != b for a, b in pairwise(unique_queries)) == len(set(queries)) - 1
