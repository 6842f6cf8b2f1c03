"""Hugging Face's forward in batches gives the logits of its loop over single pairs."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from transformers import (
    AutoModelForSequenceClassification,
    LlamaConfig,
    ModernBertConfig,
    Phi3Config,
    PretrainedConfig,
)

from reranker.engine.models.huggingface import HuggingFaceModel
from reranker.pairs import EncodedPairs
from tests.reranker.engine.models.test_forwards import DECODER, LAYOUT, SIZES, any_pairs

LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0] * 6,
    "long_factor": [9.0] * 6,
    "original_max_position_embeddings": 20,
}
CONFIGS: dict[str, Callable[[], PretrainedConfig]] = {
    "llama, longrope": lambda: LlamaConfig(**DECODER, max_position_embeddings=200, rope_parameters=dict(LONGROPE)),
    "phi3, longrope": lambda: Phi3Config(
        **DECODER | {"pad_token_id": 5}, max_position_embeddings=200, rope_parameters=dict(LONGROPE)
    ),
    "llama, dynamic rope": lambda: LlamaConfig(
        **DECODER,
        max_position_embeddings=20,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 8.0},
    ),
    "modernbert, dynamic rope of some layers": lambda: ModernBertConfig(
        **SIZES | {"num_attention_heads": 4, "pad_token_id": 5, "num_hidden_layers": 4},
        max_position_embeddings=20,
        local_attention=8,
        initializer_range=0.3,
        initializer_cutoff_factor=3.0,
        rope_parameters={
            "full_attention": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    ),
}


@cache
def loaded(name: str) -> tuple[HuggingFaceModel, Callable[[], torch.nn.Module]]:
    """Our model, and a function that makes Hugging Face's anew: a dynamic rope remembers earlier passes."""

    def module() -> Any:
        torch.manual_seed(3)
        return AutoModelForSequenceClassification.from_config(CONFIGS[name]()).eval()

    return HuggingFaceModel(module(), LAYOUT), module


@torch.inference_mode()
def one_pair_loop(make: Callable[[], Any], pairs: EncodedPairs) -> np.ndarray:
    ids = [torch.from_numpy(pairs.pair_ids(pair).astype(np.int64))[None] for pair in range(len(pairs))]
    return np.array([make()(input_ids=row, attention_mask=torch.ones_like(row)).logits.item() for row in ids])


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=15)
@given(pairs=any_pairs())
def test_rope_that_depends_on_the_length_is_not_changed_by_other_pairs(name: str, pairs: EncodedPairs) -> None:
    model, make = loaded(name)
    assert model.prepare(pairs)().numpy() == pytest.approx(one_pair_loop(make, pairs), abs=1e-4)
