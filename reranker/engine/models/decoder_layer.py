"""The weights of one decoder layer, read from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PretrainedConfig

from reranker.engine.models.heads import Heads
from reranker.engine.models.linear import LayerReader, Linear
from reranker.engine.models.norms import RmsNorm
from reranker.engine.models.rope import ALL_LAYERS, ropes_of
from reranker.engine.shape import GEMMAS

_NORMED_QUERIES = frozenset({"qwen3", "gemma3_text"})
HAS_OUTPUT_NORMS = frozenset({"gemma2", "gemma3_text"})


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """projections: one to queries, keys and values; or one to queries and one to keys and values, in a last layer
    where only the pooled tokens need queries. query_norm, key_norm: only in Qwen3 and Gemma 3. attended_norm,
    output_norm: of what attention and MLP give, before it is added; only in Gemma 2 and 3. rope: see `ropes_of`.
    """

    rope: str
    input_norm: RmsNorm
    projections: tuple[Linear, ...]
    query_norm: RmsNorm | None
    key_norm: RmsNorm | None
    out: Linear
    attended_norm: RmsNorm | None
    mlp_norm: RmsNorm
    gate: Linear
    up: Linear
    down: Linear
    output_norm: RmsNorm | None


def read_decoder_layer(
    reader: LayerReader, config: PretrainedConfig, heads: Heads, number: int, *, pooled: bool
) -> DecoderLayer:
    """pooled: whether only pooled tokens need queries."""
    name, family = f"model.layers.{number}", config.model_type
    width, inner = config.hidden_size, config.intermediate_size
    attention, mlp = f"{name}.self_attn", f"{name}.mlp"
    # The architecture decides which biases and norms exist, not the file.
    out_bias = bool(getattr(config, "attention_bias", False)) and family in {"llama", "qwen3", *GEMMAS}
    mlp_bias = bool(getattr(config, "mlp_bias", False)) and family == "llama"
    output_norms = family in HAS_OUTPUT_NORMS

    def norm(part: str, size: int = width) -> RmsNorm:
        return read_norm(reader, f"{name}.{part}", config, size)

    return DecoderLayer(
        rope=ALL_LAYERS if ALL_LAYERS in ropes_of(config) else config.layer_types[number],
        input_norm=norm("input_layernorm"),
        projections=tuple(
            reader.linear(
                *(f"{attention}.{part}_proj" for part in parts),
                width=width,
                out=sum(heads.query if part == "q" else heads.key for part in parts) * heads.size,
                bias=out_bias or family == "qwen2",
            )
            for parts in (("q", "kv") if pooled else ("qkv",))
        ),
        query_norm=norm("self_attn.q_norm", heads.size) if family in _NORMED_QUERIES else None,
        key_norm=norm("self_attn.k_norm", heads.size) if family in _NORMED_QUERIES else None,
        out=reader.linear(f"{attention}.o_proj", width=heads.query * heads.size, out=width, bias=out_bias),
        attended_norm=norm("post_attention_layernorm") if output_norms else None,
        mlp_norm=norm("pre_feedforward_layernorm" if output_norms else "post_attention_layernorm"),
        gate=reader.linear(f"{mlp}.gate_proj", width=width, out=inner, bias=mlp_bias),
        up=reader.linear(f"{mlp}.up_proj", width=width, out=inner, bias=mlp_bias),
        down=reader.linear(f"{mlp}.down_proj", width=inner, out=width, bias=mlp_bias),
        output_norm=norm("post_feedforward_layernorm") if output_norms else None,
    )


def read_norm(reader: LayerReader, name: str, config: PretrainedConfig, size: int) -> RmsNorm:
    """Gemma stores weights less one."""
    weight = reader.tensor(f"{name}.weight", size)
    return RmsNorm(weight.float() + 1 if config.model_type in GEMMAS else weight, config.rms_norm_eps)
