"""Sharding: every passage once, in order, in shards of bounded and similar size."""

from hypothesis import given
from hypothesis import strategies as st

from deployments.sharding import shard
from reranker.types import Passage


@given(lengths=st.lists(st.integers(0, 300), max_size=200), max_chars=st.integers(1, 2_000))
def test_shards_cover_every_passage_once_and_keep_the_bound(lengths: list[int], max_chars: int) -> None:
    passages = [Passage("x" * length) for length in lengths]

    slices = list(shard(passages, max_chars))

    assert [index for part in slices for index in range(part.start, part.stop)] == list(range(len(lengths)))
    for part in slices:
        size = part.stop - part.start
        assert size == 1 or sum(length + 32 for length in lengths[part]) <= max_chars


def test_queries_of_their_own_count_towards_a_shard() -> None:
    passages = [Passage("x" * 18)] * 4
    assert list(shard(passages, 200, "q" * 1_000)) == [slice(0, 4)]
    assert list(shard(passages, 200, ("q" * 50,) * 4)) == [slice(0, 2), slice(2, 4)]


def test_small_request_is_one_shard() -> None:
    assert list(shard([Passage("a passage")] * 100, 65_536)) == [slice(0, 100)]


def test_shards_have_similar_sizes() -> None:
    passages = [Passage("x" * 68)] * 11  # 1,100 characters including overhead
    sizes = [part.stop - part.start for part in shard(passages, 1_000)]
    assert sizes == [6, 5]
