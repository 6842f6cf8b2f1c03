"""The weights of one decoder layer, read from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers import PretrainedConfig

from reranker.engine.models.heads import Heads
from reranker.engine.models.linear import LayerReader, Linear


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """projections: one to queries, keys and values; or one to queries and one to keys and values, in a last layer
    where only the pooled tokens need queries. query_norm, key_norm: only in Qwen3.
    """

    input_norm: Tensor
    projections: tuple[Linear, ...]
    query_norm: Tensor | None
    key_norm: Tensor | None
    out: Linear
    mlp_norm: Tensor
    gate: Linear
    up: Linear
    down: Linear


def read_decoder_layer(
    reader: LayerReader, config: PretrainedConfig, heads: Heads, number: int, *, pooled: bool
) -> DecoderLayer:
    """pooled: whether only pooled tokens need queries."""
    name = f"model.layers.{number}"
    width, inner = config.hidden_size, config.intermediate_size
    attention, mlp = f"{name}.self_attn", f"{name}.mlp"
    # The architecture decides which biases exist, not the file.
    out_bias = bool(getattr(config, "attention_bias", False)) and config.model_type in ("llama", "qwen3")
    mlp_bias = bool(getattr(config, "mlp_bias", False)) and config.model_type == "llama"
    qwen3 = config.model_type == "qwen3"
    return DecoderLayer(
        input_norm=reader.tensor(f"{name}.input_layernorm.weight", width),
        projections=tuple(
            reader.linear(
                *(f"{attention}.{part}_proj" for part in parts),
                width=width,
                out=sum(heads.query if part == "q" else heads.key for part in parts) * heads.size,
                bias=out_bias or config.model_type == "qwen2",
            )
            for parts in (("q", "kv") if pooled else ("qkv",))
        ),
        query_norm=reader.tensor(f"{attention}.q_norm.weight", heads.size) if qwen3 else None,
        key_norm=reader.tensor(f"{attention}.k_norm.weight", heads.size) if qwen3 else None,
        out=reader.linear(f"{attention}.o_proj", width=heads.query * heads.size, out=width, bias=out_bias),
        mlp_norm=reader.tensor(f"{name}.post_attention_layernorm.weight", width),
        gate=reader.linear(f"{mlp}.gate_proj", width=width, out=inner, bias=mlp_bias),
        up=reader.linear(f"{mlp}.up_proj", width=width, out=inner, bias=mlp_bias),
        down=reader.linear(f"{mlp}.down_proj", width=inner, out=width, bias=mlp_bias),
    )
