"""What our forwards allocate at once, counted without a GPU, stays within the memory plan whatever the pairs are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    ModernBertConfig,
    PretrainedConfig,
    Qwen3Config,
    T5Config,
)

from reranker.engine.memory import GPU_RESERVE_BYTES, AttentionKind, MemoryPlan
from reranker.engine.models import ScoringModel
from reranker.engine.models.attention import attention_over
from reranker.engine.models.bert import BertModel
from reranker.engine.models.huggingface import HuggingFaceModel
from reranker.engine.models.llama import LlamaModel
from reranker.engine.models.modernbert import ModernBertModel
from reranker.engine.models.t5 import T5Model
from reranker.engine.packing import pack
from reranker.engine.shape import ModelShape
from reranker.layout import PadToken, PairLayout
from reranker.pairs import EncodedPairs
from tests.reranker.engine.allocations import MetaWeights, PeakBytes, varlen_attention
from tests.reranker.engine.worst import QWEN3_06B, one_query, own_queries, pairs_of_lengths

PAIR = 228
LAYOUT = PairLayout(head=(2,), middle=(3,), tail=(3,), prefix_type=0, passage_type=1, middle_passage_typed=0)
LLAMA_8B = LlamaConfig(
    vocab_size=128_256,
    hidden_size=4096,
    intermediate_size=14_336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    num_labels=1,
)
MINILM = BertConfig(
    hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, num_labels=1
)
ETTIN = {"hidden_size": 384, "num_hidden_layers": 10, "num_attention_heads": 6, "intermediate_size": 576}
ETTIN_32M = ModernBertConfig(**ETTIN, num_labels=1)
ETTIN_32M_MEAN = ModernBertConfig(**ETTIN, num_labels=1, classifier_pooling="mean")
SMALL = Qwen3Config(
    vocab_size=1000,
    hidden_size=256,
    intermediate_size=384,
    num_hidden_layers=3,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=64,
    num_labels=1,
)
GEMMA_SIZES = {
    "vocab_size": 1000,
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "num_labels": 1,
}
GEMMA_3 = Gemma3TextConfig(**GEMMA_SIZES, query_pre_attn_scalar=64)


def planned(
    config: PretrainedConfig,
    budget: int,
    attention: AttentionKind = "varlen",
    dtype: torch.dtype = torch.bfloat16,
    pair: int = PAIR,
    whole_pairs: bool = False,
) -> int:
    plan = MemoryPlan.of(
        ModelShape.of(config),
        dtype.itemsize,
        max_pair_tokens=pair,
        gpu=True,
        attention=attention,
        whole_pairs=whole_pairs,
    )
    return plan.bytes_for(budget)


def meta_model(
    config: PretrainedConfig,
    attention: AttentionKind,
    dtype: torch.dtype,
    pad: PadToken | None,
    pair: int,
    **options: Any,
) -> ScoringModel:
    make = varlen_attention if attention == "varlen" else attention_over  # which takes blocks without a GPU
    if attention == "huggingface":
        with torch.device("meta"):
            module = AutoModelForSequenceClassification.from_config(config, dtype=dtype).eval()
        return HuggingFaceModel(module, LAYOUT, pad)
    weights = MetaWeights(qk_norms=config.model_type == "qwen3", biases=isinstance(config, BertConfig))
    if isinstance(config, BertConfig):
        return BertModel(weights, config, LAYOUT, dtype=dtype, device="meta", attention=make)
    if isinstance(config, ModernBertConfig):
        return ModernBertModel(weights, config, pair, dtype=dtype, device="meta", attention=make)
    return LlamaModel(weights, config, pair, pad, dtype=dtype, device="meta", attention=make, **options)


def peak_of(
    config: PretrainedConfig,
    budget: int,
    batches: list[EncodedPairs],
    attention: AttentionKind = "varlen",
    dtype: torch.dtype = torch.bfloat16,
    pad: PadToken | None = None,
    pair: int = PAIR,
    **options: Any,
) -> int:
    """Bytes at the peak of scoring the batches one after another, weights included."""
    with PeakBytes() as counted:
        model = meta_model(config, attention, dtype, pad, pair, **options)
        for pairs in batches:
            for batch in pack(model.pass_tokens(pairs.lengths), budget, padded=model.pads):
                model.prepare(pairs.take(batch))()
    return counted.peak


@pytest.mark.parametrize("config", [LLAMA_8B, QWEN3_06B], ids=["8b", "0.6b"])
def test_worst_batches_of_a_decoder_are_within_its_plan_and_the_plan_not_far_above(config: PretrainedConfig) -> None:
    budget = 8_192
    batches = [
        own_queries(4_096, PAIR - 1, 1, seed=1),  # fills the cache with other prefixes
        one_query(budget, 10, PAIR - 10),
        own_queries(budget, PAIR // 2, PAIR // 2),
        own_queries(budget, PAIR - 1, 1),
    ]
    peak = peak_of(config, budget, batches)
    assert peak <= planned(config, budget) - GPU_RESERVE_BYTES <= 1.05 * peak


@pytest.mark.parametrize("attention", ["varlen", "blocks"])
def test_pairs_longer_than_the_prefix_cache_are_within_the_plan(attention: AttentionKind) -> None:
    pair, budget = 6_000, 12_000
    batches = [own_queries(budget, pair - 1, 1), own_queries(budget, 3_000, 3_000), one_query(budget, 1, pair - 1)]
    plan = planned(SMALL, budget, attention, pair=pair) - GPU_RESERVE_BYTES
    assert peak_of(SMALL, budget, batches, attention, pair=pair) <= plan < 3e9  # all scores at once are 2.3 GB more


@st.composite
def any_batch(draw: st.DrawFn) -> EncodedPairs:
    """A few kinds of queries, each with prefixes, documents and passages of its own lengths; about 5,000 tokens."""
    prefixes: list[int] = []
    prefix_of: list[int] = []
    passages: list[int] = []
    for _ in range(draw(st.integers(1, 4))):
        prefix = draw(st.integers(1, PAIR - 1) | st.just(PAIR - 1))
        passage = draw(st.integers(1, PAIR - prefix))
        documents = draw(st.sampled_from([1, 1, 2, 50]))
        for _ in range(max(1, draw(st.integers(200, 2_500)) // ((prefix + passage) * documents))):
            prefix_of += [len(prefixes)] * documents
            passages += [passage] * documents
            prefixes.append(prefix)
    return pairs_of_lengths(prefixes, prefix_of, passages, draw(st.integers(0, 2)))


@pytest.mark.slow
@given(
    batches=st.lists(any_batch(), min_size=1, max_size=2),
    budget=st.integers(PAIR, 6_000),
    attention=st.sampled_from(["varlen", "varlen", "blocks"]),
    dtype=st.sampled_from([torch.bfloat16, torch.float32]),
    pad=st.sampled_from([None, PadToken(2, PAIR - 1)]),
)
@settings(max_examples=20)
def test_any_batches_of_a_decoder_are_within_the_plan(
    batches: list[EncodedPairs], budget: int, attention: AttentionKind, dtype: torch.dtype, pad: PadToken | None
) -> None:
    plan = planned(SMALL, budget, attention, dtype) - GPU_RESERVE_BYTES
    assert peak_of(SMALL, budget, batches, attention, dtype, pad) <= plan


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "shape",
    [
        {"d_model": 512, "d_ff": 1024, "num_heads": 6, "feed_forward_proj": "gated-gelu"},
        {"d_model": 384, "d_ff": 1536, "num_heads": 12, "d_kv": 64},
        {"d_model": 256, "d_ff": 4096, "num_heads": 4, "num_decoder_layers": 12},
    ],
    ids=["gated", "wide heads", "wide mlp"],
)
def test_t5_is_within_its_plan(shape: dict[str, Any], dtype: torch.dtype) -> None:
    config = T5Config(**shape, decoder_start_token_id=0)
    batches = [own_queries(4_096, 10, PAIR - 10), own_queries(4_096, PAIR - 1, 1), own_queries(4_096, 6, 6)]
    with PeakBytes() as counted:
        weights = MetaWeights(columns=config.d_model)
        model = T5Model(weights, config, {7: 1.0, 11: -1.0}, dtype=dtype, device="meta")
        for pairs in batches:
            model.prepare(pairs)()
    assert counted.peak <= planned(config, 4_096, "blocks", dtype) - GPU_RESERVE_BYTES


@pytest.mark.parametrize("attention", ["varlen", "blocks", "huggingface"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "config",
    [MINILM, SMALL, ETTIN_32M, ETTIN_32M_MEAN],
    ids=["encoder", "decoder", "local encoder", "local encoder, mean"],
)
def test_every_forward_is_within_its_plan(
    config: PretrainedConfig, attention: AttentionKind, dtype: torch.dtype
) -> None:
    batches = [own_queries(4_096, 10, PAIR - 10), own_queries(4_096, PAIR - 1, 1), own_queries(4_096, 6, 6)]
    peak = peak_of(config, 4_096, batches, attention, dtype)
    assert peak <= planned(config, 4_096, attention, dtype) - GPU_RESERVE_BYTES


@pytest.mark.parametrize("attention", ["varlen", "blocks"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "config",
    [
        GemmaConfig(**GEMMA_SIZES),
        Gemma2Config(**GEMMA_SIZES, query_pre_attn_scalar=64, attn_logit_softcapping=None),
        GEMMA_3,
        Gemma3TextConfig(**GEMMA_SIZES | {"intermediate_size": 2048}, query_pre_attn_scalar=64),
    ],
    ids=["1", "2", "3", "3 with a wide MLP"],
)
def test_gemmas_are_within_their_plans(
    config: PretrainedConfig, attention: AttentionKind, dtype: torch.dtype
) -> None:
    batches = [own_queries(4_096, 10, PAIR - 10), one_query(4_096, 10, PAIR - 10), own_queries(4_096, PAIR - 1, 1)]
    peak = peak_of(config, 4_096, batches, attention, dtype)
    assert peak <= planned(config, 4_096, attention, dtype) - GPU_RESERVE_BYTES


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("attention", ["varlen", "blocks"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("config", [SMALL, GEMMA_3], ids=["qwen3", "gemma 3"])
def test_bidirectional_decoders_are_within_their_plans(
    config: PretrainedConfig, attention: AttentionKind, dtype: torch.dtype, pooling: str
) -> None:
    batches = [own_queries(4_096, 10, PAIR - 10), one_query(4_096, PAIR - 6, 6), own_queries(4_096, 6, 6)]
    peak = peak_of(config, 4_096, batches, attention, dtype, causal=False, pooling=pooling)
    assert peak <= planned(config, 4_096, attention, dtype, whole_pairs=True) - GPU_RESERVE_BYTES
