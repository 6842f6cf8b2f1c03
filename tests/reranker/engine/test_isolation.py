"""A failing batch is taken apart: only the pairs that fail alone are left without a logit."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reranker.engine.isolation import score_isolating
from reranker.pairs import EncodedPairs, FloatArray, offsets


def pairs_of(values: list[int]) -> EncodedPairs:
    """One pair per value, whose passage is the value's token."""
    count = len(values)
    return EncodedPairs(
        prefix_ids=np.array([5], dtype=np.int32),
        prefix_offsets=offsets(np.array([1])),
        prefix_of=np.zeros(count, dtype=np.int32),
        passage_ids=np.array(values, dtype=np.int32),
        passage_offsets=offsets(np.ones(count, dtype=np.int64)),
        candidate_of=np.arange(count, dtype=np.int32),
        truncated=np.zeros(count, dtype=bool),
    )


@given(values=st.lists(st.integers(0, 30), min_size=1, max_size=40), bad=st.sets(st.integers(0, 30), max_size=3))
def test_exactly_the_pairs_that_fail_alone_have_no_logit(values: list[int], bad: set[int]) -> None:
    passes = 0

    def score(pairs: EncodedPairs) -> FloatArray:
        nonlocal passes
        passes += 1
        if bad & set(pairs.passage_ids.tolist()):
            raise ValueError("all examples must have the same number of <eos> tokens")
        return pairs.passage_ids.astype(np.float32)

    logits, failures = score_isolating(score, pairs_of(values))
    guilty = {n for n, value in enumerate(values) if value in bad}
    assert set(failures) == guilty
    assert [n for n in range(len(values)) if math.isnan(logits[n])] == sorted(guilty)
    assert all(logits[n] == value for n, value in enumerate(values) if n not in guilty)
    assert passes <= 1 + 2 * len(guilty) * max(1, math.ceil(math.log2(len(values))))


@given(count=st.integers(1, 50), room=st.integers(1, 50))
def test_batch_too_large_for_the_free_memory_is_scored_in_parts(count: int, room: int) -> None:
    def score(pairs: EncodedPairs) -> FloatArray:
        if len(pairs) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return pairs.passage_ids.astype(np.float32)

    logits, failures = score_isolating(score, pairs_of(list(range(count))))
    assert logits.tolist() == list(range(count))
    assert not failures


def test_device_that_is_lost_to_this_process_is_not_asked_again() -> None:
    passes = 0

    def score(pairs: EncodedPairs) -> FloatArray:
        nonlocal passes
        passes += 1
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    with pytest.raises(torch.AcceleratorError):
        score_isolating(score, pairs_of([1, 2, 3]))
    assert passes == 1
