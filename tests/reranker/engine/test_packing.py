"""Packing: every pair in exactly one batch, and the token budget kept."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.engine.packing import pack, pack_evenly

LENGTHS = st.lists(st.integers(1, 228), max_size=200).map(lambda lengths: np.array(lengths, dtype=np.int32))


@given(lengths=LENGTHS, budget=st.integers(1, 2_000), padded=st.booleans())
def test_pack_puts_every_pair_in_one_batch_within_the_budget(lengths: np.ndarray, budget: int, padded: bool) -> None:
    batches = pack(lengths, budget, padded=padded)

    assert sorted(pair for batch in batches for pair in batch) == list(range(len(lengths)))
    for batch in batches:
        cost = lengths[batch].max() * len(batch) if padded else lengths[batch].sum()
        assert cost <= budget or len(batch) == 1


@given(lengths=LENGTHS, budget=st.integers(1, 2_000), padded=st.booleans())
def test_pack_fills_every_batch_until_the_next_pair_would_exceed_the_budget(
    lengths: np.ndarray, budget: int, padded: bool
) -> None:
    batches = pack(lengths, budget, padded=padded)
    for batch, following in pairwise(batches):
        longer = np.append(batch, following[0])
        cost = lengths[longer].max() * len(longer) if padded else lengths[longer].sum()
        assert cost > budget


@given(lengths=LENGTHS)
def test_pack_orders_longest_first_with_ties_in_input_order(lengths: np.ndarray) -> None:
    order = [int(pair) for batch in pack(lengths, 500, padded=True) for pair in batch]
    assert order == sorted(range(len(lengths)), key=lambda pair: (-lengths[pair], pair))


@given(lengths=LENGTHS, budget=st.integers(1, 2_000), workers=st.integers(1, 9))
def test_pack_evenly_puts_every_pair_in_one_batch_at_most_one_pair_over_budget(
    lengths: np.ndarray, budget: int, workers: int
) -> None:
    batches = pack_evenly(lengths, budget, workers)

    order = [int(pair) for batch in batches for pair in batch]
    assert order == sorted(range(len(lengths)), key=lambda pair: (-lengths[pair], pair))
    assert all(0 < lengths[batch].sum() <= budget + lengths[batch].max() for batch in batches)


@given(lengths=st.lists(st.integers(1, 228), min_size=20, max_size=200).map(np.array), workers=st.integers(1, 9))
def test_pack_evenly_gives_every_worker_equal_batches(lengths: np.ndarray, workers: int) -> None:
    batches = pack_evenly(lengths, 500, workers)
    tokens = [int(lengths[batch].sum()) for batch in batches]
    assert max(tokens) - min(tokens) <= 2 * lengths.max()
    if all(count > lengths.max() for count in tokens):
        assert len(batches) % workers == 0


@given(length=st.integers(1, 228), count=st.integers(0, 200), budget=st.integers(1, 2_000), workers=st.integers(1, 9))
def test_pack_evenly_makes_no_more_batches_than_the_budget_and_the_workers_ask_for(
    length: int, count: int, budget: int, workers: int
) -> None:
    """Pairs of equal length, enough of them for every batch: the same number for each worker, as few as fit."""
    batches = pack_evenly(np.full(count, length, dtype=np.int32), budget, workers)
    rounds = max(1, math.ceil(length * count / (budget * workers)))
    assert len(batches) == min(count, rounds * workers)


def test_pack_evenly_ends_a_batch_at_the_pair_whose_middle_is_nearest_to_an_equal_share() -> None:
    lengths = np.array([9, 4, 3, 2], dtype=np.int32)  # 18 tokens: two batches of 9
    assert [batch.tolist() for batch in pack_evenly(lengths, 100, 2)] == [[0], [1, 2, 3]]
    lengths = np.array([5, 5, 5, 3], dtype=np.int32)  # the middle of the second pair lies before 9
    assert [batch.tolist() for batch in pack_evenly(lengths, 100, 2)] == [[0, 1], [2, 3]]
    lengths = np.array([6, 6, 6], dtype=np.int32)  # the middle of the second pair is 9 itself
    assert [batch.tolist() for batch in pack_evenly(lengths, 100, 2)] == [[0], [1, 2]]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32, np.int64])
def test_packing_of_narrow_or_unsigned_lengths_does_not_overflow(dtype: type[np.integer]) -> None:
    lengths = np.array([100, 127, 1, 127] * 50)
    narrow = lengths.astype(dtype)
    for padded in (False, True):
        batches = [batch.tolist() for batch in pack(narrow, 700, padded=padded)]
        assert batches == [batch.tolist() for batch in pack(lengths, 700, padded=padded)]
    assert [batch.tolist() for batch in pack_evenly(narrow, 700, 3)] == [
        batch.tolist() for batch in pack_evenly(lengths, 700, 3)
    ]
