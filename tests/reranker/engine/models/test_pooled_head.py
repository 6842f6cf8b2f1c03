"""Means over packed sequences: exact, and bit-equal whatever else is in the pass."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reranker.engine.models.packed import Sequences
from reranker.engine.models.pooled_head import means

WIDTH = 24


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8), padding=st.integers(0, 3))
def test_mean_of_a_sequence_is_exact_and_does_not_depend_on_the_others(
    dtype: torch.dtype, lengths: list[int], padding: int
) -> None:
    torch.manual_seed(1)
    sequences = Sequences.pack([np.arange(length, dtype=np.int32) for length in lengths])
    states = torch.randn(sum(lengths), WIDTH).to(dtype)
    together = means(torch.cat((states, torch.full((padding, WIDTH), torch.nan, dtype=dtype))), sequences)
    assert together.dtype is dtype
    for n, (start, end) in enumerate(zip(sequences.starts, sequences.starts[1:], strict=False)):
        own = states[start:end]
        alone = means(own, Sequences.pack([np.arange(len(own), dtype=np.int32)]))
        assert torch.equal(together[n], alone[0])
        assert torch.allclose(alone[0].double(), own.double().mean(0), rtol=torch.finfo(dtype).eps, atol=1e-6)
