"""The relative position bias is that of transformers, whatever its buckets are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Attention

from reranker.engine.models.relative_bias import RelativeBias


@given(
    buckets=st.integers(4, 64),
    heads=st.integers(1, 3),
    beyond=st.integers(1, 200),
    longest=st.integers(1, 60) | st.just(400),
)
def test_bias_is_that_of_transformers(buckets: int, heads: int, beyond: int, longest: int) -> None:
    max_distance = buckets // 4 + beyond
    config = T5Config(
        num_heads=heads,
        d_model=8,
        relative_attention_num_buckets=buckets,
        relative_attention_max_distance=max_distance,
    )
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    weight = torch.arange(buckets * heads, dtype=torch.float32).view(buckets, heads)
    theirs.relative_attention_bias.weight.data.copy_(weight)
    expected = theirs.compute_bias(longest, longest)[0].detach()
    assert torch.equal(RelativeBias(weight, max_distance).over(longest), expected)


@pytest.mark.parametrize("longest", [1, 7, 130])
def test_bias_depends_on_the_distance_alone_and_is_contiguous(longest: int) -> None:
    bias = RelativeBias(torch.randn(32, 2), 128).over(longest)
    assert bias.shape == (2, longest, longest)
    assert bias.is_contiguous()
    for diagonal in range(1 - longest, longest):
        values = bias.diagonal(diagonal, 1, 2)
        assert torch.equal(values, values[:, :1].expand_as(values))
