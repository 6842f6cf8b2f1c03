"""ModernBERT with one logit, over a checkpoint's weights.

Most layers attend to a window of near tokens, the others to the whole pair; each kind has its own rotary embeddings.
Not computed: padding (linear layers run over packed tokens), and, where the head reads the first token and the last
layer attends to the whole pair, everything in that layer but keys and values for all other tokens.

Sources: ModernBERT (Warner et al., 2024), GeGLU (Shazeer, 2020); tensor names follow transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PretrainedConfig

from reranker.checkpoints.weights import Weights
from reranker.engine.models import ForwardPass
from reranker.engine.models.attention import MakeAttention, attention_over
from reranker.engine.models.config_keys import unknown_key
from reranker.engine.models.heads import Heads
from reranker.engine.models.linear import Activation, LayerReader, Linear, pad_rows
from reranker.engine.models.norms import LayerNorm
from reranker.engine.models.packed import Sequences
from reranker.engine.models.pooled_head import ACTIVATIONS, Dense, Head, Norm, means
from reranker.engine.models.rotary import pair_rotations, paired, rotate_pairs_, unsupported_rope
from reranker.engine.models.transfer import in_input_order, on_device
from reranker.pairs import EncodedPairs, IntArray

_GLOBAL, _LOCAL = "full_attention", "sliding_attention"
_CONFIG_KEYS = frozenset(
    {"attention_bias", "classifier_activation", "classifier_bias", "classifier_pooling", "hidden_activation"}
    | {"hidden_size", "intermediate_size", "layer_types", "local_attention", "max_position_embeddings", "mlp_bias"}
    | {"norm_bias", "norm_eps", "num_attention_heads", "num_hidden_layers", "rope_parameters", "vocab_size"}
    # transformers turns the first of these into layer_types; the others are written by older versions and never read.
    | {"global_attn_every_n_layers", "layer_norm_eps", "position_embedding_type", "repad_logits_with_grad"}
    # Of the masked language model, and of its training.
    | {"decoder_bias", "deterministic_flash_attn", "initializer_cutoff_factor", "sparse_pred_ignore_index"}
    | {"sparse_prediction"}
)


def unsupported(config: PretrainedConfig) -> str | None:
    """Why this forward cannot run a checkpoint; None if it can."""
    if config.model_type != "modernbert":
        return f"its architecture is {config.model_type}"
    if config.hidden_activation not in get_args(Activation):
        return f"its activation is {config.hidden_activation}"
    if config.classifier_activation not in ACTIVATIONS:
        return f"its head's activation is {config.classifier_activation}"
    if config.classifier_pooling not in ("cls", "mean"):
        return f"its pooling is {config.classifier_pooling}"
    if other := set(config.layer_types) - {_GLOBAL, _LOCAL}:
        return f"it has layers of type {min(other)}"
    for kind in sorted(set(config.layer_types)):
        if problem := unsupported_rope(config.rope_parameters[kind]):
            return problem
    return unknown_key(config, _CONFIG_KEYS)


def head_of(config: PretrainedConfig) -> Head:
    """The head of transformers' sequence classifier."""
    return Head(
        config.classifier_pooling,
        (
            Dense("head.dense", config.hidden_size, config.classifier_bias, config.classifier_activation),
            Norm("head.norm", config.norm_bias, config.norm_eps),
            Dense("classifier", 1, bias=True),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Layer:
    """attention_norm: None in the first layer. projections: one to queries, keys and values; in a last layer of
    which only the first token is read one to queries and one to keys and values.
    """

    kind: str
    attention_norm: LayerNorm | None
    projections: tuple[Linear, ...]
    out: Linear
    mlp_norm: LayerNorm
    inner: Linear
    gate: Linear
    outer: Linear


class ModernBertModel:
    """See ScoringModel."""

    pads = False

    def __init__(
        self,
        weights: Weights,
        config: PretrainedConfig,
        max_pair_tokens: int,
        head: Head | None = None,
        *,
        body: str = "model.",
        dtype: torch.dtype,
        device: str,
        attention: MakeAttention = attention_over,
    ) -> None:
        """head: None for that of transformers' classifier. body: what the names of all other tensors begin with.

        Raises CheckpointError when the weights do not match the config.
        """
        head = head or head_of(config)
        self._attention_over = attention
        width, heads = config.hidden_size, config.num_attention_heads
        self._heads = Heads(heads, heads, width // heads)
        self._window: int = config.sliding_window  # on each side
        self._activation: Activation = config.hidden_activation
        self._takes_mean = head.pooling == "mean"
        # A local layer reads the first token's window only, which one_token does not know.
        self._ends_at_first = not self._takes_mean and config.layer_types[-1] == _GLOBAL
        reader = LayerReader(weights, dtype, device)
        self._embedding = reader.tensor(f"{body}embeddings.tok_embeddings.weight", config.vocab_size, width)
        self._norm = _read_norm(reader, f"{body}embeddings.norm", config)
        last = config.num_hidden_layers - 1
        self._layers = [
            _read_layer(reader, f"{body}layers.{n}", config, n, splits_queries=n == last and self._ends_at_first)
            for n in range(last + 1)
        ]
        self._final_norm = _read_norm(reader, f"{body}final_norm", config)
        self._head = head.read(reader, width)
        self._rotations = _rotations(config, max_pair_tokens, like=self._embedding)

    def pass_tokens(self, lengths: IntArray) -> IntArray:
        return lengths

    def prepare(self, pairs: EncodedPairs) -> ForwardPass:
        return partial(self._logits, Sequences.pack([pairs.pair_ids(pair) for pair in range(len(pairs))]))

    def clear_cache(self) -> None:
        """There is no cache."""

    @torch.inference_mode()
    def _logits(self, sequences: Sequences) -> Tensor:
        return in_input_order(self._head(self._pooled(sequences)), sequences)

    def _pooled(self, sequences: Sequences) -> Tensor:
        """Pooled state of each sequence, (sequences, width)."""
        device = self._embedding.device
        make = partial(self._attention_over, sequences, self._heads, causal=False, like=self._embedding)
        attentions = {_GLOBAL: make()}
        # The first and the last of window + 1 tokens still attend to each other.
        attentions[_LOCAL] = (
            make(window=self._window) if sequences.lengths.max() > self._window + 1 else attentions[_GLOBAL]
        )
        positions, first = on_device(sequences.positions, device), on_device(sequences.starts[:-1], device)
        ropes = {kind: table.index_select(0, positions) for kind, table in self._rotations.items()}
        x = pad_rows(self._norm(functional.embedding(on_device(sequences.ids, device), self._embedding)))
        query, key, size = self._heads
        for number, layer in enumerate(self._layers):
            attention, rope = attentions[layer.kind], ropes[layer.kind]
            normed = x if layer.attention_norm is None else layer.attention_norm(x)
            if number < len(self._layers) - 1 or not self._ends_at_first:
                qkv = layer.projections[0](normed).view(len(x), -1, size)
                rotate_pairs_(qkv[: len(rope), :query], rope)
                rotate_pairs_(qkv[: len(rope), query : query + key], rope)
                attended = attention.all_tokens(qkv, [])
                del qkv
            else:
                q = layer.projections[0](normed[first]).view(-1, query, size)
                kv = layer.projections[1](normed).view(len(x), -1, size)
                rotate_pairs_(q, rope[first])
                rotate_pairs_(kv[: len(rope), :key], rope)
                attended, x = attention.one_token(q, kv, []), x[first]
                del kv
            x = layer.out.plus(attended, x)
            del attended  # MemoryPlan assumes that it is freed before the MLP
            normed = layer.mlp_norm(x)
            x = layer.outer.plus(layer.gate.times(normed, layer.inner.activated(normed, self._activation)), x)
        if self._takes_mean:
            return means(self._final_norm(x), sequences)
        return self._final_norm(x if self._ends_at_first else x[first])


def _read_layer(
    reader: LayerReader, name: str, config: PretrainedConfig, number: int, *, splits_queries: bool
) -> _Layer:
    width, inner = config.hidden_size, config.intermediate_size
    heads = config.num_attention_heads
    qkv = [width, 2 * width] if splits_queries else [3 * width]
    starts = torch.arange(0, 2 * width, width // heads)[:, None]  # of each head's queries, then of its keys
    order = torch.cat(((starts + paired(width // heads)).view(-1), torch.arange(2 * width, 3 * width)))
    parts = reader.parts(f"{name}.mlp.Wi", width=width, outs=[inner, inner], bias=config.mlp_bias)
    return _Layer(
        kind=config.layer_types[number],
        attention_norm=_read_norm(reader, f"{name}.attn_norm", config) if number else None,
        projections=tuple(
            reader.parts(f"{name}.attn.Wqkv", width=width, outs=qkv, bias=config.attention_bias, order=order)
        ),
        out=reader.linear(f"{name}.attn.Wo", width=width, out=width, bias=config.attention_bias),
        mlp_norm=_read_norm(reader, f"{name}.mlp_norm", config),
        inner=parts[0],
        gate=parts[1],
        outer=reader.linear(f"{name}.mlp.Wo", width=inner, out=width, bias=config.mlp_bias),
    )


def _read_norm(reader: LayerReader, name: str, config: PretrainedConfig) -> LayerNorm:
    return LayerNorm.read(reader, name, config.hidden_size, config.norm_eps, bias=config.norm_bias)


def _rotations(config: PretrainedConfig, positions: int, *, like: Tensor) -> dict[str, Tensor]:
    """Rotations of each type of layer by position, as `rotate_pairs_` takes them."""
    from transformers.models.modernbert.modeling_modernbert import ModernBertRotaryEmbedding  # takes seconds

    rotary = ModernBertRotaryEmbedding(config).to(like.device)  # type: ignore[arg-type]
    at, exact = torch.arange(positions, device=like.device)[None], like.new_empty(0, dtype=torch.float32)
    return {kind: pair_rotations(rotary(exact, at, kind)) for kind in sorted(set(config.layer_types))}
