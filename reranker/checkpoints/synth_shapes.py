"""Shapes of real rerankers, for checkpoints of random weights: the sizes in their config.json, and their recipes.

The sizes are facts from the models' own files or cards. A shape may be cut to few layers, for tests.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from reranker.checkpoints.recipes import recipe_named
from reranker.errors import InvalidField
from reranker.prompt import BARE, DEAR
from reranker.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Task = Literal["SequenceClassification", "CausalLM", "Seq2SeqLM"]

# Larger queries and keys make attention prefer some tokens instead of averaging all, so that a logit depends on the
# whole pair and not only on its last token. The gains are ours.
_ATTENTION_GAIN = 1.5
_HEAD_GAIN = 3.0
_EMBEDDING_DEVIATION = 0.5
_QUERIES_AND_KEYS = re.compile(r"\.(q_proj|k_proj|SelfAttention\.[qk]|EncDecAttention\.[qk])\.weight$")
# Matrices that write to the residual stream.
_TO_RESIDUAL = re.compile(r"\.(o_proj|down_proj|o|wo|Wo)\.weight$")
_EMBEDDINGS = re.compile(r"(embed_tokens|shared|tok_embeddings)\.weight$")
_HEADS = re.compile(r"^(score|classifier|lm_head)\.weight$")
_DEPTHS = ("num_hidden_layers", "num_layers", "num_decoder_layers")

Tensor = tuple[str, tuple[int, ...], float | None]


@dataclass(frozen=True)
class SynthShape:
    """config: keys of config.json, with model_type. recipe: a known recipe, or the name of a template."""

    config: Mapping[str, Any]
    recipe: str = "dear"
    task: Task = "SequenceClassification"

    def cut(self, layers: int, vocabulary: int) -> SynthShape:
        """The same with fewer layers and a smaller vocabulary."""
        fewer: dict[str, Any] = {name: layers for name in _DEPTHS if name in self.config}
        if "layer_types" in self.config:
            fewer["layer_types"] = self.config["layer_types"][:layers]
        fewer["vocab_size"] = min(vocabulary, self.config["vocab_size"])
        return replace(self, config={**self.config, **fewer})

    @property
    def pairs(self) -> Recipe:
        """The recipe itself."""
        templates = {"dear": Recipe(name="dear", template=DEAR, max_pair_tokens=228)}
        templates["bare"] = Recipe(name="bare", template=BARE, max_pair_tokens=512)
        return templates.get(self.recipe) or recipe_named(self.recipe)

    @property
    def weights(self) -> int:
        """Number of weights in a checkpoint of this shape."""
        return sum(math.prod(size) for _, size, _ in self.tensors())

    def transformers_config(self) -> PretrainedConfig:
        from transformers import AutoConfig

        keys = dict(self.config)
        labels = {"num_labels": 1} if self.task == "SequenceClassification" else {}
        config: PretrainedConfig = AutoConfig.for_model(keys.pop("model_type"), **keys, **labels)
        return config

    def tensors(self) -> Iterator[Tensor]:
        """(name, shape, standard deviation) of every weight in a checkpoint; a deviation of None means ones.

        The deviation of a linear layer is 1/sqrt(inputs); that of the two that write to the residual stream is
        divided by sqrt(2 layers), so that activations stay near 1 with any number of layers.
        Source: initialization of GPT-2 (Radford et al., 2019).
        """
        import torch
        import transformers

        config = self.transformers_config()
        kind = getattr(transformers, f"AutoModelFor{self.task}")
        with torch.device("meta"):
            module = kind.from_config(config)
        layers = next(value for name in _DEPTHS if (value := getattr(config, name, None)))
        tied = set(getattr(module, "_tied_weights_keys", None) or ()) if config.tie_word_embeddings else set()
        for name, parameter in module.named_parameters():
            if name not in tied:
                yield name, tuple(parameter.shape), _deviation(name, tuple(parameter.shape), layers)


def _deviation(name: str, size: tuple[int, ...], layers: int) -> float | None:
    if len(size) == 1:
        return 0.1 if name.endswith("bias") else None
    if "relative_attention_bias" in name or _EMBEDDINGS.search(name):
        return _EMBEDDING_DEVIATION
    gain = 1.0
    if _HEADS.search(name):
        gain = _HEAD_GAIN
    elif _QUERIES_AND_KEYS.search(name):
        gain = _ATTENTION_GAIN
    elif _TO_RESIDUAL.search(name):
        gain = 1 / math.sqrt(2 * layers)
    return gain / math.sqrt(size[1])


def llama_shape(
    layers: int,
    hidden: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    intermediate: int,
    vocabulary: int,
    positions: int,
    rope_theta: float,
    rope_factor: float | None = None,
    rope_original_positions: int = 8192,
) -> SynthShape:
    """A Llama with the template of DeAR. rope_factor: of the `llama3` scaling, None for unscaled embeddings."""
    rope: dict[str, object] = {"rope_type": "default", "rope_theta": rope_theta}
    if rope_factor is not None:
        rope |= {
            "rope_type": "llama3",
            "factor": rope_factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": rope_original_positions,
        }
    return SynthShape(
        {
            "model_type": "llama",
            "num_hidden_layers": layers,
            "hidden_size": hidden,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "head_dim": head_dim,
            "intermediate_size": intermediate,
            "vocab_size": vocabulary,
            "max_position_embeddings": positions,
            "rope_parameters": rope,
            "rms_norm_eps": 1e-5,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": None,
        }
    )


def _qwen(kind: str, layers: int, hidden: int, heads: int, kv_heads: int, inner: int, rows: int) -> dict[str, Any]:
    return {
        "model_type": kind,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "vocab_size": rows,
        "max_position_embeddings": 40_960,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        **({"head_dim": 128} if kind == "qwen3" else {}),
    }


def _modernbert(layers: int, hidden: int, heads: int, inner: int, local_theta: float, pooling: str) -> dict[str, Any]:
    return {
        "model_type": "modernbert",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": 50_368,
        "max_position_embeddings": 8192,
        "global_attn_every_n_layers": 3,
        "local_attention": 128,
        "global_rope_theta": 160_000.0,
        "local_rope_theta": local_theta,
        "classifier_pooling": pooling,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "cls_token_id": 0,
        "sep_token_id": 1,
        "pad_token_id": 1,
    }


def _t5(layers: int, hidden: int, heads: int, inner: int) -> dict[str, Any]:
    return {
        "model_type": "t5",
        "num_layers": layers,
        "num_decoder_layers": layers,
        "d_model": hidden,
        "d_kv": 128 if hidden >= 1024 else 64,
        "d_ff": inner,
        "num_heads": heads,
        "vocab_size": 32_128,
        "feed_forward_proj": "relu",
        "tie_word_embeddings": True,
        "decoder_start_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }


_GEMMA = {
    "model_type": "gemma",
    "num_hidden_layers": 18,
    "hidden_size": 2048,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "intermediate_size": 16_384,
    "vocab_size": 256_000,
    "max_position_embeddings": 8192,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}

SHAPES: Mapping[str, SynthShape] = MappingProxyType(
    {
        # As wide as SmolLM2-135M, with fewer layers: small enough to measure on two cores.
        "12x576": llama_shape(12, 576, 9, 3, 64, 1536, 49_152, 8192, 100_000.0),
        "llama-3.1-8b": llama_shape(32, 4096, 32, 8, 128, 14_336, 128_256, 131_072, 500_000.0, rope_factor=8.0),
        "rankllama-13b": llama_shape(40, 5120, 40, 40, 128, 13_824, 32_000, 4096, 10_000.0),
        "qwen3-reranker-0.6b": SynthShape(
            _qwen("qwen3", 28, 1024, 16, 8, 3072, 151_669), "qwen3-reranker", "CausalLM"
        ),
        "zerank-1-small": SynthShape(_qwen("qwen3", 28, 2048, 16, 8, 6144, 151_936), "zerank-1", "CausalLM"),
        "mxbai-rerank-base-v2": SynthShape(
            _qwen("qwen2", 24, 896, 14, 2, 4864, 151_936), "mxbai-rerank-v2", "CausalLM"
        ),
        "bge-reranker-v2-gemma": SynthShape(_GEMMA, "bge-reranker-v2-gemma", "CausalLM"),
        "ettin-32m": SynthShape(_modernbert(10, 384, 6, 576, 160_000.0, "cls"), "bare"),
        "modernbert-base": SynthShape(_modernbert(22, 768, 12, 1152, 10_000.0, "mean"), "bare"),
        "monot5-base": SynthShape(_t5(12, 768, 12, 3072), "monot5", "Seq2SeqLM"),
        "monot5-3b": SynthShape(_t5(24, 1024, 32, 16_384), "monot5", "Seq2SeqLM"),
    }
)


def shape_named(name: str) -> SynthShape:
    """Raises InvalidField for a name that is not in SHAPES."""
    if name not in SHAPES:
        raise InvalidField("--shape", f"{name!r} is not known: use one of {', '.join(SHAPES)}")
    return SHAPES[name]
