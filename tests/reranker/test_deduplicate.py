"""Deduplication: unique passages, and an index that restores the original list."""

from hypothesis import given
from hypothesis import strategies as st

from reranker.deduplicate import deduplicate
from reranker.types import Passage


@given(st.lists(st.builds(Passage, st.sampled_from("abc"), st.sampled_from(["", "a"]))))
def test_inverse_index_restores_every_passage(passages: list[Passage]) -> None:
    unique, inverse = deduplicate(passages)
    assert [unique[index] for index in inverse] == passages
    assert len(set(unique)) == len(unique)
    assert len(inverse) == len(passages)
