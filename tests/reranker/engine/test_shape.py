"""Counts of arithmetic, against numbers counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, GPT2Config, LlamaConfig

from cluster.bench.roofline import needed_work
from reranker.engine.shape import ModelShape
from reranker.errors import CheckpointError
from reranker.pairs import IntArray

# Width 4, 2 heads of 2 with one key head, MLP 8: q 4x4, k and v 4x2 each, o 4x4, gate, up, down 4x8 each.
TINY_DECODER = ModelShape(
    causal=True, layers=2, hidden=4, heads=2, kv_heads=1, head_dim=2, intermediate=8, embeddings=10
)
TINY_ENCODER = replace(TINY_DECODER, causal=False, kv_heads=2)


def ints(*values: int) -> IntArray:
    return np.array(values, dtype=np.int32)


def test_the_8b_has_the_weights_and_flops_that_are_known_of_it() -> None:
    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
    )
    shape = ModelShape.of(config)
    assert shape.matmul_weights == 6_979_321_856
    assert 2 * shape.matmul_weights == pytest.approx(13.96e9, rel=1e-3)
    assert shape.weights_bytes(2) == pytest.approx(15.0e9, rel=2e-3)


def test_a_small_encoder_has_the_weights_that_are_known_of_it() -> None:
    shape = ModelShape.of(BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536))
    assert shape.matmul_weights == 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    assert shape.weights_bytes(1) == pytest.approx(22.7e6, rel=5e-3)


def test_a_decoders_work_is_the_one_counted_by_hand() -> None:
    layer, key_value = 16 + 8 + 8 + 16 + 96, 16
    assert TINY_DECODER.layer_weights == layer
    work = needed_work(TINY_DECODER, ints(3), ints(0, 0), ints(2, 4))
    assert work.tokens == 3 + 2 + 4
    # The first layer and the last one's keys and values for nine tokens; the rest and the head for two.
    assert work.linear_flops == 2 * 9 * (layer + key_value) + 2 * 2 * (layer - key_value + 4)
    # First layer: 1+2+3 keys in the prefix, 4+5 and 4+5+6+7 after it; last layer: 5 and 7.
    assert work.attention_flops == 4 * 4 * ((6 + 9 + 22) + (5 + 7))


def test_an_encoders_work_is_the_one_counted_by_hand() -> None:
    layer, key_value = 4 * 16 + 64, 32
    assert TINY_ENCODER.layer_weights == layer
    work = needed_work(TINY_ENCODER, ints(3), ints(0, 0), ints(2, 4))
    assert work.tokens == 5 + 7
    assert work.linear_flops == 2 * 12 * (layer + key_value) + 2 * 2 * (layer - key_value + 4 * 5)
    assert work.attention_flops == 4 * 4 * ((25 + 49) + (5 + 7))


@given(st.integers(1, 40), st.lists(st.integers(0, 200), min_size=1, max_size=12))
def test_a_shared_prefix_saves_its_tokens_in_a_decoder_and_nothing_in_an_encoder(
    prefix: int, passages: list[int]
) -> None:
    pairs = len(passages)
    shared = (ints(prefix), ints(*[0] * pairs), ints(*passages))
    apart = (ints(*[prefix] * pairs), ints(*range(pairs)), ints(*passages))
    decoder = needed_work(TINY_DECODER, *apart).tokens - needed_work(TINY_DECODER, *shared).tokens
    assert decoder == prefix * (pairs - 1)
    assert needed_work(TINY_ENCODER, *apart) == needed_work(TINY_ENCODER, *shared)


def test_an_architecture_that_is_not_counted_is_refused() -> None:
    with pytest.raises(CheckpointError, match="gpt2"):
        ModelShape.of(GPT2Config())
