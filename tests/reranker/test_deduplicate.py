"""Equal passages are scored once, and nothing is lost by it."""

from hypothesis import given
from hypothesis import strategies as st

from reranker.deduplicate import deduplicate
from reranker.types import Passage


@given(st.lists(st.builds(Passage, st.sampled_from("abc"), st.sampled_from(["", "a"]))))
def test_places_give_every_passage_back(passages: list[Passage]) -> None:
    unique, places = deduplicate(passages)
    assert [unique[place] for place in places] == passages
    assert len(set(unique)) == len(unique)
    assert len(places) == len(passages)
