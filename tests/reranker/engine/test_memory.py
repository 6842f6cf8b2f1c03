"""The memory plan: the 8B fits its GPU, batches shrink with the device, and a model too large is refused."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, LlamaConfig, PretrainedConfig, T5Config

from reranker.engine.engine import choose_batch_tokens
from reranker.engine.memory import CPU_BATCH_TOKENS, CPU_WORKER_TOKENS, GPU_BATCH_TOKENS, AttentionKind, MemoryPlan
from reranker.engine.shape import ModelShape
from reranker.errors import CheckpointError
from reranker.settings import EngineSettings

LLAMA_8B = ModelShape(
    causal=True,
    layers=32,
    hidden=4096,
    heads=32,
    kv_heads=8,
    head_dim=128,
    intermediate=14_336,
    embeddings=128_256,
    gated=True,
)
GPU_PLAN = MemoryPlan.of(LLAMA_8B, 2, max_pair_tokens=228, gpu=True)


def test_8b_with_default_batch_tokens_fits_19_gb() -> None:
    assert GPU_PLAN.weights_bytes == pytest.approx(15.0e9, rel=0.01)
    assert GPU_PLAN.bytes_for(GPU_BATCH_TOKENS) <= 19e9
    assert GPU_PLAN.batch_tokens(GPU_BATCH_TOKENS, 24 * 10**9, 228) == GPU_BATCH_TOKENS


def test_8b_is_refused_on_a_16_gb_gpu_with_the_memory_it_needs() -> None:
    with pytest.raises(
        CheckpointError, match=r"needs 16\.\d GB for one pair, and the device has 16\.0 GB: use a larger"
    ):
        GPU_PLAN.batch_tokens(GPU_BATCH_TOKENS, 16 * 10**9, 228)


@given(device_bytes=st.integers(10**9, 40 * 10**9), wanted=st.integers(228, 50_000))
def test_batch_tokens_fit_the_device_and_never_exceed_the_wanted_number(device_bytes: int, wanted: int) -> None:
    try:
        tokens = GPU_PLAN.batch_tokens(wanted, device_bytes, 228)
    except CheckpointError:
        assert GPU_PLAN.bytes_for(228) > device_bytes
        return
    assert 228 <= tokens <= wanted
    assert GPU_PLAN.bytes_for(tokens) <= device_bytes
    assert tokens == wanted or GPU_PLAN.bytes_for(tokens + 1) > device_bytes


def test_memory_plan_of_an_encoder_on_a_cpu_has_no_prefixes_and_no_reserve() -> None:
    plan = MemoryPlan.of(ModelShape.of(BertConfig()), 4, max_pair_tokens=512, gpu=False)
    assert (plan.prefix_token_bytes, plan.key_bytes, plan.fixed_bytes) == (0, 0, 0)


def test_plan_of_an_encoder_decoder_counts_its_decoder_and_the_bias() -> None:
    shape = ModelShape.of(T5Config())
    plan = MemoryPlan.of(shape, 2, max_pair_tokens=512, gpu=False, attention="blocks")
    without = MemoryPlan.of(replace(shape, decoder_layers=0), 2, max_pair_tokens=512, gpu=False, attention="blocks")
    assert plan.fixed_bytes - without.fixed_bytes == 4 * 8 * 512**2
    assert plan.weights_bytes > 1.5 * without.weights_bytes
    assert (plan.prefix_token_bytes, plan.key_bytes) == (0, 0)


def test_plan_of_parallel_passes_counts_the_prefixes_of_each() -> None:
    one, four = (MemoryPlan.of(LLAMA_8B, 2, max_pair_tokens=228, gpu=False, passes=passes) for passes in (1, 4))
    assert four.bytes_for(8_192) - one.bytes_for(8_192) >= 8_192 * one.prefix_token_bytes


@given(tokens=st.integers(228, 30_000), attention=st.sampled_from(["varlen", "blocks", "huggingface"]))
def test_more_tokens_never_need_less_memory(tokens: int, attention: AttentionKind) -> None:
    plan = MemoryPlan.of(LLAMA_8B, 2, max_pair_tokens=228, gpu=True, attention=attention)
    assert plan.bytes_for(tokens) <= plan.bytes_for(tokens + 1)


@pytest.mark.parametrize("config", [LlamaConfig(num_hidden_layers=1, hidden_size=64), PretrainedConfig()])
def test_max_batch_tokens_setting_overrides_the_default_and_must_fit_one_pair(config: PretrainedConfig) -> None:
    def chosen(max_batch_tokens: int | None, workers: int = 1) -> int:
        settings = EngineSettings(max_batch_tokens=max_batch_tokens)
        return choose_batch_tokens(settings, config, 228, torch.float32, "cpu", workers)

    assert chosen(None) == CPU_BATCH_TOKENS
    assert chosen(None, workers=8) == 8 * CPU_WORKER_TOKENS
    assert chosen(5000) == 5000
    with pytest.raises(CheckpointError, match="max_batch_tokens 100 is below one pair of 228 tokens"):
        chosen(100)
