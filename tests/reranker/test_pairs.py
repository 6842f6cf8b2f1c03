"""What is counted of encoded pairs and of the work they took."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.pairs import EncodedPairs, ShardWork, offsets

works = st.builds(ShardWork, st.floats(0, 10), st.floats(0.001, 10), st.floats(0, 2), st.integers(0, 1_000))


@given(st.lists(works, min_size=1, max_size=6))
def test_sum_of_work_keeps_totals_and_a_fill_between_its_parts(parts: list[ShardWork]) -> None:
    total = sum(parts, ShardWork())
    assert total.queue_wait_s == pytest.approx(sum(part.queue_wait_s for part in parts))
    assert total.device_s == pytest.approx(sum(part.device_s for part in parts))
    assert total.shared_tokens == sum(part.shared_tokens for part in parts)
    fills = [part.batch_fill for part in parts]
    assert min(fills) - 1e-9 <= total.batch_fill <= max(fills) + 1e-9


def test_work_without_device_time_adds_no_fill() -> None:
    assert ShardWork() + ShardWork(1.0) == ShardWork(1.0)


@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=5), data=st.data())
def test_repeated_prefix_tokens_are_all_but_the_first_use_of_each(lengths: list[int], data: st.DataObject) -> None:
    uses = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=8))
    count = len(uses)
    pairs = EncodedPairs(
        prefix_ids=np.zeros(sum(lengths), dtype=np.int32),
        prefix_offsets=offsets(np.array(lengths)),
        prefix_of=np.array(uses, dtype=np.int32),
        passage_ids=np.zeros(count, dtype=np.int32),
        passage_offsets=offsets(np.ones(count, dtype=np.int64)),
        candidate_of=np.arange(count, dtype=np.int32),
        truncated=np.zeros(count, dtype=bool),
    )
    assert pairs.repeated_prefix_tokens == sum(
        lengths[prefix] for place, prefix in enumerate(uses) if prefix in uses[:place]
    )
