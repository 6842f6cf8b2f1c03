"""FLOPs that a workload needs, against numbers counted by hand."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cluster.bench.roofline import needed_work
from reranker.engine.shape import ModelShape
from reranker.pairs import IntArray

# Width 4, 2 heads of 2 with one key head, MLP 8: q 4x4, k and v 4x2 each, o 4x4, gate, up, down 4x8 each.
TINY_DECODER = ModelShape(
    causal=True, layers=2, hidden=4, heads=2, kv_heads=1, head_dim=2, intermediate=8, embeddings=10, gated=True
)
TINY_ENCODER = replace(TINY_DECODER, causal=False, kv_heads=2, gated=False)


def ints(*values: int) -> IntArray:
    return np.array(values, dtype=np.int32)


def test_needed_work_of_a_decoder_equals_the_count_by_hand() -> None:
    layer, key_value = 16 + 8 + 8 + 16 + 96, 16
    work = needed_work(TINY_DECODER, ints(3), ints(0, 0), ints(2, 4))
    assert work.tokens == 3 + 2 + 4
    # Nine tokens need the first layer and the last one's keys and values; two need the rest of it and the head.
    assert work.linear_flops == 2 * 9 * (layer + key_value) + 2 * 2 * (layer - key_value + 4)
    # Attended keys in the first layer: 1+2+3 in the prefix, 4+5 and 4+5+6+7 after it; in the last one: 5 and 7.
    assert work.attention_flops == 4 * 4 * ((6 + 9 + 22) + (5 + 7))


def test_needed_work_of_an_encoder_equals_the_count_by_hand() -> None:
    layer, key_value = 4 * 16 + 64, 32
    work = needed_work(TINY_ENCODER, ints(3), ints(0, 0), ints(2, 4))
    assert work.tokens == 5 + 7
    assert work.linear_flops == 2 * 12 * (layer + key_value) + 2 * 2 * (layer - key_value + 4 * 5)
    assert work.attention_flops == 4 * 4 * ((25 + 49) + (5 + 7))


def test_needed_work_of_local_layers_and_a_mean_equals_the_count_by_hand() -> None:
    shape = replace(TINY_ENCODER, layers=3, gated=True, local_layers=1, window=2)
    layer, key_value, head = 4 * 16 + 96, 32, 4 * 5
    work = needed_work(shape, ints(3), ints(0, 0), ints(2, 4))
    assert work.linear_flops == 2 * 12 * (2 * layer + key_value) + 2 * 2 * (layer - key_value + head)
    # With two tokens on each side: 3+4+5+4+3 keys in the pair of five, 3+4+5+5+5+4+3 in that of seven.
    assert work.attention_flops == 4 * 4 * ((25 + 49) + (19 + 29) + (5 + 7))
    mean = needed_work(replace(shape, pools_all=True), ints(3), ints(0, 0), ints(2, 4))
    assert mean.linear_flops == 2 * 12 * 3 * layer + 2 * 2 * head
    assert mean.attention_flops == 4 * 4 * (2 * (25 + 49) + (19 + 29))


def test_needed_work_of_an_encoder_decoder_equals_the_count_by_hand() -> None:
    shape = replace(TINY_ENCODER, pools_all=True, decoder_layers=3)
    layer, key_value = 4 * 16 + 64, 32
    work = needed_work(shape, ints(3), ints(0, 0), ints(2, 4))
    # Two tokens need in each decoder layer value and output, query and output again, and the MLP.
    decoder = 2 * 3 * (12 * key_value + 2 * (2 * 16 + 2 * 16 + 64))
    assert work.linear_flops == 2 * 12 * 2 * layer + decoder + 2 * 2 * 4
    assert work.attention_flops == 4 * 4 * (2 * (25 + 49) + 3 * (5 + 7))


@given(st.integers(1, 40), st.integers(1, 50))
def test_window_as_long_as_the_pair_saves_no_attention(length: int, window: int) -> None:
    shape = replace(TINY_ENCODER, layers=3, window=window)
    local, everywhere = (
        needed_work(replace(shape, local_layers=layers), ints(0), ints(0), ints(length)).attention_flops
        for layers in (2, 0)
    )
    assert local < everywhere if length > window + 1 else local == everywhere


@given(st.integers(1, 40), st.lists(st.integers(0, 200), min_size=1, max_size=12))
def test_shared_prefix_saves_work_in_a_decoder_and_none_in_an_encoder(prefix: int, passages: list[int]) -> None:
    pairs = len(passages)
    shared = (ints(prefix), ints(*[0] * pairs), ints(*passages))
    apart = (ints(*[prefix] * pairs), ints(*range(pairs)), ints(*passages))
    decoder = needed_work(TINY_DECODER, *apart).tokens - needed_work(TINY_DECODER, *shared).tokens
    assert decoder == prefix * (pairs - 1)
    assert needed_work(TINY_ENCODER, *apart) == needed_work(TINY_ENCODER, *shared)
