"""Rows of the LM head give the logits of the whole vocabulary: every family of decoders, tied and untied."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from reranker.checkpoints.token_head import TokenHead, logit_cap_of
from reranker.checkpoints.weights import ModuleWeights
from reranker.engine.models.llama import LlamaModel, unsupported
from reranker.pairs import EncodedPairs
from tests.reranker.engine.models.test_forwards import DECODER, PAD_TOKEN_ID, any_pairs
from tests.reranker.engine.worst import pairs_of_lengths

LM = DECODER | {"pad_token_id": PAD_TOKEN_ID, "tie_word_embeddings": False}
CONFIGS: dict[str, Callable[[], PretrainedConfig]] = {
    "gemma": lambda: GemmaConfig(**LM | {"tie_word_embeddings": True}, head_dim=16),
    "llama": lambda: LlamaConfig(**LM),
    "llama, tied": lambda: LlamaConfig(**LM | {"tie_word_embeddings": True}),
    "mistral": lambda: MistralConfig(**LM, sliding_window=None),
    "qwen2": lambda: Qwen2Config(**LM),
    "qwen3": lambda: Qwen3Config(**LM, head_dim=16),
    "qwen3, tied": lambda: Qwen3Config(**LM | {"tie_word_embeddings": True}, head_dim=16),
}


@cache
def language_model(name: str) -> PreTrainedModel:
    return random_model(CONFIGS[name]())


def random_model(config: PretrainedConfig) -> PreTrainedModel:
    """In float32; biases and norms matter too."""
    assert unsupported(config, 100) is None
    torch.manual_seed(3)
    module = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for parameter in module.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=float(parameter.mean().detach()), std=0.2)
    return module


def saved_weights(module: PreTrainedModel) -> ModuleWeights:
    """As in a file: without the LM head where it is tied."""
    tensors = module.state_dict()
    if module.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    return ModuleWeights("toy", tensors)


@cache
def fast(name: str, token_weights: tuple[tuple[int, float], ...]) -> LlamaModel:
    module = language_model(name)
    head = TokenHead(saved_weights(module), dict(token_weights), tied=module.config.tie_word_embeddings)
    return LlamaModel(head, module.config, 100, dtype=torch.float32, device="cpu", skips_pad_ids=False)


@torch.inference_mode()
def vocabulary_logits(module: PreTrainedModel, pairs: EncodedPairs) -> np.ndarray:
    """At the last token of each pair: (pairs, vocabulary)."""
    ids = [torch.from_numpy(pairs.pair_ids(pair).astype(np.int64))[None] for pair in range(len(pairs))]
    return np.concatenate([module(input_ids=row).logits[:, -1].numpy() for row in ids])


TOKEN_WEIGHTS = st.dictionaries(st.integers(0, 59), st.sampled_from([1.0, -1.0, 0.5]), min_size=1, max_size=3)


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=20)
@given(pairs=any_pairs(), token_weights=TOKEN_WEIGHTS | st.just({7: 1.0, 9: -1.0}))
def test_logit_is_the_signed_sum_of_whole_vocabulary_logits(
    name: str, pairs: EncodedPairs, token_weights: dict[int, float]
) -> None:
    """Also of pairs that end in the config's pad token: they are read there."""
    logits = vocabulary_logits(language_model(name), pairs)
    expected = sum(weight * logits[:, token] for token, weight in token_weights.items())
    model = fast(name, tuple(token_weights.items()))
    assert model.prepare(pairs)().numpy() == pytest.approx(expected, abs=1e-4)
    assert model.prepare(pairs)().numpy() == pytest.approx(expected, abs=1e-4)  # with every prefix in the cache


def test_pairs_without_a_prefix_have_the_same_logits() -> None:
    """The document comes first, or nothing does: there is nothing to share."""
    pairs = pairs_of_lengths([0, 5], [0, 1, 0], [4, 9, 7], vocabulary=60)
    expected = vocabulary_logits(language_model("llama"), pairs)[:, 7]
    assert fast("llama", ((7, 1.0),)).prepare(pairs)().numpy() == pytest.approx(expected, abs=1e-4)


def test_capped_logit_of_one_row_is_that_of_the_capped_vocabulary() -> None:
    pairs = pairs_of_lengths([3], [0, 0], [4, 9], vocabulary=60)
    config = Gemma2Config(**LM, head_dim=16, final_logit_softcapping=0.5)
    module = random_model(config)
    for weight in (1.0, -1.0):
        head = TokenHead(saved_weights(module), {7: weight}, tied=False)
        cap = logit_cap_of(config.final_logit_softcapping, {7: weight})
        model = LlamaModel(head, config, 100, dtype=torch.float32, device="cpu", skips_pad_ids=False, logit_cap=cap)
        expected = weight * vocabulary_logits(module, pairs)[:, 7]
        assert model.prepare(pairs)().numpy() == pytest.approx(expected, abs=1e-5)
        assert np.abs(expected).min() > 0.1


def test_summed_row_in_bfloat16_is_nearer_to_exact_than_the_difference_of_two_logits() -> None:
    """Two logits with a common part of 10 are rounded to bf16 in steps of 1/16."""
    torch.manual_seed(0)
    width = 256
    hidden = torch.randn(500, width).bfloat16()
    hidden[:, 0] = 10.0
    rows = (torch.randn(2, width) * 0.05).bfloat16()
    rows[:, 0] = 1.0
    exact = hidden.double() @ (rows[0].double() - rows[1].double())
    logits = (hidden.float() @ rows.float().T).bfloat16().float()
    head = TokenHead(ModuleWeights("toy", {"lm_head.weight": rows}), {0: 1.0, 1: -1.0}, tied=False)
    summed = head.read("score.weight", shape=(1, width), dtype=torch.float32, device="cpu")
    ours = (hidden.float() @ summed.T)[:, 0]
    assert (ours - exact).abs().mean() < 1e-3 * (logits[:, 0] - logits[:, 1] - exact).abs().mean()
