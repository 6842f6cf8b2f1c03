"""What a decoder's config says about its forward, and which configs the fast one runs."""

from __future__ import annotations

from typing import TypedDict

from transformers import PretrainedConfig

from reranker.engine.models.config_keys import unknown_key
from reranker.engine.models.decoder_layer import HAS_OUTPUT_NORMS
from reranker.engine.models.linear import Activation
from reranker.engine.models.rope import ropes_of
from reranker.engine.models.rotary import unsupported_rope
from reranker.engine.shape import GEMMAS

FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"}) | GEMMAS
_ACTIVATIONS: dict[str, Activation] = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
_CONFIG_KEYS = frozenset(
    {"attention_bias", "attn_logit_softcapping", "final_logit_softcapping", "head_dim", "hidden_act"}
    | {"hidden_activation", "hidden_size", "intermediate_size", "is_causal", "layer_types"}
    | {"max_position_embeddings", "max_window_layers", "mlp_bias", "num_attention_heads", "num_hidden_layers"}
    | {"num_key_value_heads", "pad_token_id", "query_pre_attn_scalar", "rms_norm_eps", "rope_parameters"}
    | {"sliding_window", "sliding_window_pattern", "use_sliding_window", "vocab_size"}
)
_BIDIRECTIONAL_KEYS = frozenset({"pooling", "score_temperature", "temperature"})  # of NVIDIA's Llama rerankers


class Scores(TypedDict, total=False):
    """How attention scores differ from the usual. scale: if not 1 / sqrt(head size). softcap: c of c tanh(x / c)."""

    scale: float
    softcap: float


def unsupported(config: PretrainedConfig, max_pair_tokens: int, *, causal: bool = True) -> str | None:
    """Why the fast forward cannot run a checkpoint; None if it can.

    causal: False if the caller asks for bidirectional attention, and takes pooling and temperature from the config.
    """
    if config.model_type not in FAMILIES:
        return f"its architecture is {config.model_type}"
    if _activation_name(config) not in _ACTIVATIONS:
        return f"its activation is {_activation_name(config)}"
    window = getattr(config, "sliding_window", None)  # None as well where use_sliding_window switches it off
    if window is not None and window < max_pair_tokens:
        return f"its attention window of {window} is shorter than a pair"
    for rope in ropes_of(config).values():
        if problem := unsupported_rope(rope):
            return problem
    if other := set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}:
        return f"it has layers of type {min(other)}"
    if not causal:
        return unknown_key(config, _CONFIG_KEYS | _BIDIRECTIONAL_KEYS)
    if getattr(config, "is_causal", True) is not True:
        return f"config key is_causal is {config.is_causal!r}"
    return unknown_key(config, _CONFIG_KEYS)


def activation_of(config: PretrainedConfig) -> Activation:
    """Of a supported config."""
    return _ACTIVATIONS[_activation_name(config)]


def scores_of(config: PretrainedConfig) -> Scores:
    """Empty for all but some of Gemma 2 and 3."""
    scores: Scores = {}
    if config.model_type in HAS_OUTPUT_NORMS and config.query_pre_attn_scalar != config.head_dim:
        scores["scale"] = config.query_pre_attn_scalar**-0.5
    if config.model_type == "gemma2" and config.attn_logit_softcapping is not None:
        scores["softcap"] = config.attn_logit_softcapping
    return scores


def _activation_name(config: PretrainedConfig) -> str:
    """Gemma 1 has a `hidden_activation` as well, which Hugging Face does not read."""
    key = "hidden_activation" if config.model_type in HAS_OUTPUT_NORMS else "hidden_act"
    name: str = getattr(config, key, "silu")
    return name
