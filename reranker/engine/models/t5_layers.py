"""The layers of a T5: those of its encoder, and those of its decoder at the first step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers import PretrainedConfig

from reranker.engine.models.linear import Activation, LayerReader, Linear
from reranker.engine.models.norms import RmsNorm
from reranker.engine.models.relative_bias import RelativeBias

ACTIVATIONS: dict[str, Activation] = {"relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh", "silu": "silu"}


@dataclass(frozen=True, slots=True)
class FeedForward:
    """factor: multiplied with the activated inner values; only in T5 1.1 and mT5."""

    norm: RmsNorm
    inner: Linear
    factor: Linear | None
    outer: Linear
    activation: Activation

    def __call__(self, x: Tensor) -> Tensor:
        """With its residual: (tokens, width) -> (tokens, width)."""
        normed = self.norm(x)
        inner = self.inner.activated(normed, self.activation)
        if self.factor is not None:
            inner = self.factor.times(normed, inner)
        return self.outer.plus(inner, x)


@dataclass(frozen=True, slots=True)
class EncoderLayer:
    norm: RmsNorm
    projection: Linear
    out: Linear
    feed_forward: FeedForward


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """At the first step. value, out: self-attention over one token, whose only score is 1. query, keys_values,
    cross_out: attention over the encoder's tokens.
    """

    norm: RmsNorm
    value: Linear
    out: Linear
    cross_norm: RmsNorm
    query: Linear
    keys_values: Linear
    cross_out: Linear
    feed_forward: FeedForward


def read_bias(reader: LayerReader, config: PretrainedConfig) -> RelativeBias:
    """The encoder's, which its first layer holds. The decoder's is not read: it has one position."""
    name = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    weight = reader.tensor(name, config.relative_attention_num_buckets, config.num_heads)
    return RelativeBias(weight, config.relative_attention_max_distance)


def read_encoder_layer(reader: LayerReader, config: PretrainedConfig, number: int) -> EncoderLayer:
    name = f"encoder.block.{number}.layer"
    width, inner = config.d_model, config.num_heads * config.d_kv
    attention = f"{name}.0.SelfAttention"
    parts = [f"{attention}.{part}" for part in "qkv"]
    return EncoderLayer(
        norm=read_norm(reader, f"{name}.0.layer_norm", config),
        projection=reader.linear(*parts, width=width, out=3 * inner, bias=False),
        out=reader.linear(f"{attention}.o", width=inner, out=width, bias=False),
        feed_forward=_read_feed_forward(reader, f"{name}.1", config),
    )


def read_decoder_layer(reader: LayerReader, config: PretrainedConfig, number: int) -> DecoderLayer:
    name = f"decoder.block.{number}.layer"
    width, inner = config.d_model, config.num_heads * config.d_kv
    own, cross = f"{name}.0.SelfAttention", f"{name}.1.EncDecAttention"
    return DecoderLayer(
        norm=read_norm(reader, f"{name}.0.layer_norm", config),
        value=reader.linear(f"{own}.v", width=width, out=inner, bias=False),
        out=reader.linear(f"{own}.o", width=inner, out=width, bias=False),
        cross_norm=read_norm(reader, f"{name}.1.layer_norm", config),
        query=reader.linear(f"{cross}.q", width=width, out=inner, bias=False),
        keys_values=reader.linear(f"{cross}.k", f"{cross}.v", width=width, out=2 * inner, bias=False),
        cross_out=reader.linear(f"{cross}.o", width=inner, out=width, bias=False),
        feed_forward=_read_feed_forward(reader, f"{name}.2", config),
    )


def _read_feed_forward(reader: LayerReader, name: str, config: PretrainedConfig) -> FeedForward:
    width, inner = config.d_model, config.d_ff
    layers = f"{name}.DenseReluDense"  # its name whatever the activation is
    gated = config.is_gated_act
    return FeedForward(
        norm=read_norm(reader, f"{name}.layer_norm", config),
        inner=reader.linear(f"{layers}.wi_0" if gated else f"{layers}.wi", width=width, out=inner, bias=False),
        factor=reader.linear(f"{layers}.wi_1", width=width, out=inner, bias=False) if gated else None,
        outer=reader.linear(f"{layers}.wo", width=inner, out=width, bias=False),
        activation=ACTIVATIONS[config.dense_act_fn],
    )


def read_norm(reader: LayerReader, name: str, config: PretrainedConfig) -> RmsNorm:
    return RmsNorm(reader.tensor(f"{name}.weight", config.d_model), config.layer_norm_epsilon)
