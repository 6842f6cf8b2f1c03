"""Decoders that attend in both directions, and the mean of all tokens: Hugging Face's logits, pair by pair."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForSequenceClassification,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from reranker.checkpoints.weights import ModuleWeights
from reranker.engine.models.llama import LlamaModel, unsupported
from reranker.errors import CheckpointError
from reranker.layout import PadToken
from reranker.pairs import EncodedPairs
from tests.reranker.engine.models.test_forwards import DECODER, PAD_TOKEN_ID, any_pairs
from tests.reranker.engine.worst import pairs_of_lengths

CONFIGS: dict[str, Callable[..., PretrainedConfig]] = {
    "llama": lambda **keys: LlamaConfig(**DECODER, **keys),
    "llama, one layer": lambda **keys: LlamaConfig(**DECODER | {"num_hidden_layers": 1}, **keys),
    "llama, pad token": lambda **keys: LlamaConfig(**DECODER | {"pad_token_id": PAD_TOKEN_ID}, **keys),
    "mistral": lambda **keys: MistralConfig(**DECODER, sliding_window=None, **keys),
    "qwen2": lambda **keys: Qwen2Config(**DECODER, **keys),
    "qwen3": lambda **keys: Qwen3Config(**DECODER, head_dim=16, **keys),
}
POOLINGS = ("last", "mean")


@cache
def classifier(name: str, causal: bool) -> PreTrainedModel:
    config = CONFIGS[name](is_causal=causal)
    torch.manual_seed(3)
    module = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in module.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=float(parameter.mean().detach()), std=0.2)
    return module


@cache
def fast(name: str, causal: bool, pooling: str, **options: Any) -> LlamaModel:
    module = classifier(name, causal)
    assert unsupported(module.config, 100, causal=causal) is None
    pad: Any = options.pop("pad", None)
    return LlamaModel(
        ModuleWeights(name, module.state_dict()),
        module.config,
        100,
        pad,
        dtype=torch.float32,
        device="cpu",
        causal=causal,
        pooling=pooling,  # type: ignore[arg-type]
        **options,
    )


@torch.inference_mode()
def one_pair_loop(module: PreTrainedModel, pairs: EncodedPairs, pooling: str) -> np.ndarray:
    """Of the mean, as NVIDIA's Llama rerankers compute it: of the last hidden states, which are normed."""
    logits = []
    for pair in range(len(pairs)):
        ids = torch.from_numpy(pairs.pair_ids(pair).astype(np.int64))[None]
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if pooling == "mean":
            logits.append(module.score(module.model(**inputs).last_hidden_state.mean(1)).item())
        else:
            logits.append(module(**inputs).logits.item())
    return np.array(logits)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=10)
@given(pairs=any_pairs())
def test_logits_are_those_of_hugging_faces_pair_by_pair(
    name: str, causal: bool, pooling: str, pairs: EncodedPairs
) -> None:
    expected = one_pair_loop(classifier(name, causal), pairs, pooling)
    model = fast(name, causal, pooling)
    assert model.prepare(pairs)().numpy() == pytest.approx(expected, abs=1e-4)


@settings(max_examples=20)
@given(pairs=any_pairs())
def test_padded_batch_of_hugging_faces_gives_the_same_bidirectional_logits(pairs: EncodedPairs) -> None:
    """Its full mask leaves out padding."""
    module = classifier("llama", False)
    ids = np.full((len(pairs), int(pairs.lengths.max())), 1, dtype=np.int64)
    mask = np.arange(ids.shape[1]) < pairs.lengths[:, None]
    ids[mask] = np.concatenate([pairs.pair_ids(pair) for pair in range(len(pairs))])
    inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}
    with torch.inference_mode():
        hidden = module.model(**inputs).last_hidden_state
        last = module.score(hidden[torch.arange(len(pairs)), torch.from_numpy(pairs.lengths).long() - 1])
        sums = (hidden * inputs["attention_mask"][..., None]).sum(1)
        mean = module.score(sums / inputs["attention_mask"].sum(1, keepdim=True))
    assert fast("llama", False, "last").prepare(pairs)().numpy() == pytest.approx(last[:, 0].numpy(), abs=1e-4)
    assert fast("llama", False, "mean").prepare(pairs)().numpy() == pytest.approx(mean[:, 0].numpy(), abs=1e-4)


@settings(max_examples=20)
@given(pairs=any_pairs(), room=st.integers(0, 20))
def test_bidirectional_logit_at_a_pad_token_is_that_of_a_padded_pair(pairs: EncodedPairs, room: int) -> None:
    columns = int(pairs.lengths.max()) + room
    module = classifier("llama", False)
    expected = []
    for pair in range(len(pairs)):
        ids = torch.full((1, columns), 7)
        length = int(pairs.lengths[pair])
        ids[0, :length] = torch.from_numpy(pairs.pair_ids(pair).astype(np.int64))
        mask = (torch.arange(columns) < length).long()[None]
        with torch.inference_mode():
            expected.append(module(input_ids=ids, attention_mask=mask).logits.item())
    model = fast("llama", False, "last", pad=PadToken(7, columns - 1))
    assert model.prepare(pairs)().numpy() == pytest.approx(np.array(expected), abs=1e-4)


def test_temperature_divides_logits() -> None:
    pairs = pairs_of_lengths([3], [0, 0], [4, 9], vocabulary=60)
    plain, divided = (fast("llama", False, "mean", temperature=t).prepare(pairs)() for t in (1.0, 0.2))
    assert divided.numpy() == pytest.approx(plain.numpy() * 5, rel=1e-5)


def test_attention_is_causal_unless_the_caller_says_otherwise() -> None:
    config = LlamaConfig(is_causal=False, pooling="avg", temperature=0.2)
    assert unsupported(config, 100) == "config key is_causal is False"
    assert unsupported(config, 100, causal=False) is None
    assert unsupported(LlamaConfig(is_causal=False, other=3), 100, causal=False) == "config key other is 3"


def test_mean_at_a_pad_token_is_refused() -> None:
    with pytest.raises(CheckpointError, match="is not read at a pad token: set pooling to last"):
        fast("llama", False, "mean", pad=PadToken(7, 99))
