"""Counts of a model's weights, against numbers counted by hand."""

from dataclasses import replace

import pytest
from transformers import BertConfig, GPT2Config, LlamaConfig, ModernBertConfig, MT5Config, T5Config

from reranker.engine.shape import ModelShape
from reranker.errors import CheckpointError

# Width 4, 2 heads of 2 with one key head, MLP 8: q 4x4, k and v 4x2 each, o 4x4, gate, up, down 4x8 each.
TINY_DECODER = ModelShape(
    causal=True, layers=2, hidden=4, heads=2, kv_heads=1, head_dim=2, intermediate=8, embeddings=10, gated=True
)
TINY_ENCODER = replace(TINY_DECODER, causal=False, kv_heads=2, gated=False)


def test_8b_shape_has_the_known_number_of_weights() -> None:
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
    assert 2 * shape.matmul_weights == pytest.approx(13.96e9, rel=1e-3)  # FLOPs per token
    assert shape.weights_bytes(2) == pytest.approx(15.0e9, rel=2e-3)


def test_small_encoder_shape_has_the_known_number_of_weights() -> None:
    shape = ModelShape.of(BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536))
    assert shape.matmul_weights == 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    assert shape.weights_bytes(1) == pytest.approx(22.7e6, rel=5e-3)


def test_shape_of_ettin_32m_has_its_known_number_of_weights() -> None:
    config = ModernBertConfig(
        hidden_size=384, num_hidden_layers=10, num_attention_heads=6, intermediate_size=576, vocab_size=50_368
    )
    shape = ModelShape.of(config)
    assert shape.matmul_weights == 10 * (4 * 384 * 384 + 3 * 384 * 576)
    assert shape.weights_bytes(1) == pytest.approx(32.0e6, rel=5e-3)  # 31.9 million without the head
    assert (shape.local_layers, shape.window, shape.pools_all) == (6, 64, False)


def test_shapes_of_t5_have_their_known_numbers_of_weights() -> None:
    base = ModelShape.of(T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12))
    assert base.matmul_weights == 12 * (4 * 768 * 768 + 2 * 768 * 3072)
    assert base.decoder_weights == 12 * (8 * 768 * 768 + 2 * 768 * 3072)
    assert base.weights_bytes(1) == pytest.approx(222.9e6, rel=1e-3)
    large = ModelShape.of(T5Config(d_model=1024, d_ff=16_384, d_kv=128, num_layers=24, num_heads=32))
    assert large.weights_bytes(1) == pytest.approx(2.852e9, rel=1e-3)
    gated = ModelShape.of(MT5Config(d_model=768, d_ff=2048, num_layers=12, num_heads=12))
    without_lm_head = 582.4e6 - 250_112 * 768
    assert gated.weights_bytes(1) == pytest.approx(without_lm_head, rel=1e-3)


def test_layer_weights_of_tiny_shapes_equal_the_count_by_hand() -> None:
    assert TINY_DECODER.layer_weights == 16 + 8 + 8 + 16 + 96
    assert TINY_ENCODER.layer_weights == 4 * 16 + 64


def test_unknown_architecture_is_refused() -> None:
    with pytest.raises(CheckpointError, match="gpt2"):
        ModelShape.of(GPT2Config())
