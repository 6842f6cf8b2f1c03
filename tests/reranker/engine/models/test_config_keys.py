"""Whatever keys a config.json changes, the forward chosen for it gives the logits of Hugging Face's one-pair loop."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, LlamaConfig, PretrainedConfig

from reranker.checkpoints.weights import ModuleWeights
from reranker.engine.models import ScoringModel
from reranker.engine.models.bert import BertModel
from reranker.engine.models.huggingface import HuggingFaceModel
from reranker.engine.models.llama import FAMILIES, LlamaModel
from reranker.engine.models.loading import why_no_fast_forward
from reranker.engine.models.modernbert import ModernBertModel
from reranker.pairs import EncodedPairs
from tests.reranker.engine.models.test_forwards import DECODER, ENCODER, LAYOUT, MODERNBERT, any_pairs

COMMON: dict[str, list[Any]] = {
    "is_causal": [True, False],
    "initializer_range": [0.1, 0.3],
    "attention_dropout": [0.5],
    "hidden_dropout_prob": [0.3],
    "use_cache": [False],
    "output_hidden_states": [True],
    "eos_token_id": [7],
    "chunk_size_feed_forward": [1],
    "tie_word_embeddings": [True, False],
    "a_key_of_another_library": ["anything"],
}
OF_DECODERS: dict[str, list[Any]] = {
    "pad_token_id": [5],
    "rms_norm_eps": [0.1],
    "head_dim": [8, 20],
    "hidden_act": ["gelu"],
    "attention_bias": [True],
    "mlp_bias": [True],
    "use_sliding_window": [False, True],
    "sliding_window": [6, 4096],
    "max_window_layers": [0, 1],
    "rope_theta": [100.0],
    "rope_scaling": [{"rope_type": "linear", "factor": 2.0}, {"rope_type": "dynamic", "factor": 4.0}],
    "pretraining_tp": [2],
}
OF_ENCODERS: dict[str, list[Any]] = {
    "layer_norm_eps": [0.1],
    "hidden_act": ["relu", "gelu_new"],
    "is_decoder": [True],
    "type_vocab_size": [1],
    "position_embedding_type": ["absolute"],
}
OF_LOCAL_ENCODERS: dict[str, list[Any]] = {
    "norm_eps": [0.1],
    "norm_bias": [True],
    "attention_bias": [True],
    "mlp_bias": [True],
    "classifier_bias": [True],
    "classifier_pooling": ["mean"],
    "classifier_activation": ["tanh", "gelu_new"],
    "hidden_activation": ["relu", "gelu_new"],
    "local_attention": [1, 3, 200],
    "sliding_window": [2],
    "global_attn_every_n_layers": [1, 2, 9],
    "global_rope_theta": [50.0],
    "local_rope_theta": [50.0],
    "rope_scaling": [{"rope_type": "linear", "factor": 2.0}],
    "layer_norm_eps": [0.1],
    "position_embedding_type": ["absolute"],
    "reference_compile": [False],
    "repad_logits_with_grad": [True],
    "sparse_prediction": [True],
    "decoder_bias": [False],
}


@st.composite
def configs(draw: st.DrawFn) -> PretrainedConfig:
    """A toy config of any fast family with a random subset of its keys changed."""
    family = draw(st.sampled_from([*sorted(FAMILIES), "bert", "roberta", "modernbert", "modernbert"]))
    values = COMMON | {"modernbert": OF_LOCAL_ENCODERS}.get(
        family, OF_DECODERS if family in FAMILIES else OF_ENCODERS
    )
    changes = {key: draw(st.sampled_from(values[key])) for key in draw(st.sets(st.sampled_from(sorted(values))))}
    if changes.get("rope_scaling", {}).get("rope_type") == "dynamic":
        changes["max_position_embeddings"] = 200  # the rope changes only with pairs longer than any here
    base: dict[str, Any] = DECODER
    if family == "modernbert":
        base = MODERNBERT
    elif family not in FAMILIES:
        base = ENCODER | {"type_vocab_size": 2, "pad_token_id": 1}
    return AutoConfig.for_model(family, **base | changes)


@torch.inference_mode()
def one_pair_loop(module: torch.nn.Module, pairs: EncodedPairs) -> np.ndarray:
    """Logits as a user computes them: the tokenizer's arrays of one pair, with a mask of ones."""
    logits = []
    for pair in range(len(pairs)):
        ids = torch.from_numpy(pairs.pair_ids(pair).astype(np.int64))[None]
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if module.config.model_type not in FAMILIES and getattr(module.config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = (torch.arange(ids.shape[1]) >= int(pairs.prefix_lengths[pair])).long()[None]
        logits.append(module(**inputs).logits.item())
    return np.array(logits, dtype=np.float32)


@settings(max_examples=60)
@given(config=configs(), pairs=any_pairs())
def test_logits_are_hugging_faces_whatever_config_keys_are_changed(
    config: PretrainedConfig, pairs: EncodedPairs
) -> None:
    torch.manual_seed(3)
    module = AutoModelForSequenceClassification.from_config(config).eval()
    options: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
    model: ScoringModel
    if why_no_fast_forward(config, 100) is not None:
        model = HuggingFaceModel(module, LAYOUT)
    elif config.model_type == "modernbert":
        model = ModernBertModel(ModuleWeights("toy", module.state_dict()), config, 100, **options)
    elif config.model_type in FAMILIES:
        model = LlamaModel(ModuleWeights("toy", module.state_dict()), config, 100, **options)
    else:
        model = BertModel(ModuleWeights("toy", module.state_dict()), config, LAYOUT, **options)
    assert model.prepare(pairs)().numpy() == pytest.approx(one_pair_loop(module, pairs), abs=1e-4)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (LlamaConfig(is_causal=False), "config key is_causal is False"),
        (LlamaConfig(attention_chunk_size=64), "config key attention_chunk_size is 64"),
        (BertConfig(is_causal=True), "config key is_causal is True"),
        (AutoConfig.for_model("mistral", sliding_window=50, use_sliding_window=False), "window of 50 is shorter"),
        (LlamaConfig(partial_rotary_factor=0.5), "rotates only a part"),
        (AutoConfig.for_model("qwen2", layer_types=["chunked_attention"] * 32), "layers of type chunked_attention"),
    ],
)
def test_config_key_that_a_fast_forward_does_not_know_is_named(config: PretrainedConfig, reason: str) -> None:
    assert reason in str(why_no_fast_forward(config, 100))


@pytest.mark.parametrize(
    "keys",
    [
        {"is_causal": True},
        {"architectures": ["X"], "transformers_version": "4.1", "torch_dtype": "bfloat16", "use_cache": False},
        {"id2label": {0: "relevance"}, "label2id": {"relevance": 0}, "sentence_transformers": {"version": "5"}},
        {"pruned_heads": {}, "rope_scaling": None, "pretraining_tp": 4, "attention_dropout": 0.1},
        {"embd_pdropout": 0.1, "sep_token_id": 7, "initializer_range": 0.5, "output_past": True},
    ],
)
def test_config_key_without_influence_keeps_the_fast_forward(keys: dict[str, Any]) -> None:
    assert why_no_fast_forward(LlamaConfig(**keys), 100) is None
