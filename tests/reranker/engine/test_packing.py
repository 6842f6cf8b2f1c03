"""Packing: every pair in exactly one batch, and the token budget kept."""

from itertools import pairwise

import numpy as np
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
