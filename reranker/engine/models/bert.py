"""Bidirectional encoders with one logit: BERT, RoBERTa and XLM-R, over a checkpoint's weights.

Every token attends to the whole pair, so no part of a query can be shared between passages. Not computed: padding
(linear layers run over packed tokens), and in the last layer everything but keys and values for all tokens except the
first, the only one that the head reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PretrainedConfig

from reranker.checkpoints.weights import Weights
from reranker.engine.models import ForwardPass
from reranker.engine.models.attention import MakeAttention, attention_over
from reranker.engine.models.config_keys import unknown_key
from reranker.engine.models.heads import Heads
from reranker.engine.models.linear import LayerReader, Linear, pad_rows
from reranker.engine.models.norms import LayerNorm
from reranker.engine.models.packed import Sequences, token_types
from reranker.engine.models.transfer import in_input_order, on_device
from reranker.layout import PairLayout
from reranker.pairs import EncodedPairs, IntArray, OffsetArray

_ROOTS = {"bert": "bert", "roberta": "roberta", "xlm-roberta": "roberta"}  # prefix of tensor names
_HEADS = {"bert": ("bert.pooler.dense", "classifier"), "roberta": ("classifier.dense", "classifier.out_proj")}
_CONFIG_KEYS = frozenset(
    {"hidden_act", "hidden_size", "intermediate_size", "is_decoder", "layer_norm_eps", "max_position_embeddings"}
    | {"num_attention_heads", "num_hidden_layers", "pad_token_id", "position_embedding_type", "type_vocab_size"}
    | {"vocab_size"}
)


def unsupported(config: PretrainedConfig) -> str | None:
    """Why this forward cannot run a checkpoint; None if it can."""
    if config.model_type not in _ROOTS:
        return f"its architecture is {config.model_type}"
    if config.hidden_size % config.num_attention_heads:
        return f"its {config.hidden_size} states do not divide into {config.num_attention_heads} heads"
    if config.hidden_act not in ("gelu", "relu"):
        return f"its activation is {config.hidden_act}"
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        return f"its positions are {config.position_embedding_type}"
    if getattr(config, "is_decoder", False):
        return "it is a decoder"
    return unknown_key(config, _CONFIG_KEYS)


@dataclass(frozen=True, slots=True)
class _Layer:
    """projections: one to queries, keys and values; in the last layer one to queries and one to keys and values,
    because there only the first token needs queries.
    """

    projections: tuple[Linear, ...]
    out: Linear
    attention_norm: LayerNorm
    inner: Linear
    outer: Linear
    output_norm: LayerNorm


class BertModel:
    """See ScoringModel."""

    pads = False

    def __init__(
        self,
        weights: Weights,
        config: PretrainedConfig,
        layout: PairLayout,
        *,
        dtype: torch.dtype,
        device: str,
        attention: MakeAttention = attention_over,
    ) -> None:
        """Raises CheckpointError when the weights do not match the config."""
        self._attention_over = attention
        root = _ROOTS[config.model_type]
        width, heads = config.hidden_size, config.num_attention_heads
        self._heads = Heads(heads, heads, width // heads)
        self._activation = config.hidden_act
        self._layout = layout
        self._pad_token_id = config.pad_token_id if root == "roberta" else None
        reader = LayerReader(weights, dtype, device)
        name = f"{root}.embeddings"
        self._word_embeddings = reader.tensor(f"{name}.word_embeddings.weight", config.vocab_size, width)
        self._position_embeddings = reader.tensor(
            f"{name}.position_embeddings.weight", config.max_position_embeddings, width
        )
        self._type_embeddings = reader.tensor(f"{name}.token_type_embeddings.weight", config.type_vocab_size, width)
        self._norm = LayerNorm.read(reader, f"{name}.LayerNorm", width, config.layer_norm_eps)
        self._layers = [
            _read_layer(reader, f"{root}.encoder.layer.{n}", config, last=n == config.num_hidden_layers - 1)
            for n in range(config.num_hidden_layers)
        ]
        pooler, head = _HEADS[root]
        self._pooler = reader.linear(pooler, width=width, out=width)
        self._head = reader.linear(head, width=width, out=1)

    def pass_tokens(self, lengths: IntArray) -> IntArray:
        return lengths

    def prepare(self, pairs: EncodedPairs) -> ForwardPass:
        sequences = Sequences.pack([pairs.pair_ids(pair) for pair in range(len(pairs))])
        return partial(self._logits, sequences, self._token_types(sequences, pairs))

    def clear_cache(self) -> None:
        """There is no cache."""

    @torch.inference_mode()
    def _logits(self, sequences: Sequences, types: np.ndarray) -> Tensor:
        first = self._run(sequences, types)
        return in_input_order(self._head(torch.tanh(self._pooler(first))), sequences)

    def _run(self, sequences: Sequences, types: np.ndarray) -> Tensor:
        """Hidden state of each sequence's first token, (sequences, width)."""
        attention = self._attention_over(sequences, self._heads, causal=False, like=self._word_embeddings)
        device = self._word_embeddings.device
        x = functional.embedding(on_device(sequences.ids, device), self._word_embeddings)
        x += functional.embedding(on_device(types, device), self._type_embeddings)
        x += functional.embedding(on_device(self._positions(sequences), device), self._position_embeddings)
        x = pad_rows(self._norm(x))
        first = on_device(sequences.starts[:-1], device)
        query, _, size = self._heads
        for number, layer in enumerate(self._layers):
            if number < len(self._layers) - 1:
                attended = attention.all_tokens(layer.projections[0](x).view(len(x), -1, size), [])
            else:
                kv = layer.projections[1](x).view(len(x), -1, size)
                x = x[first]
                q = layer.projections[0](x).view(len(x), query, size)
                attended = attention.one_token(q, kv, [])
            x = layer.attention_norm(layer.out.plus(attended, x))
            x = layer.output_norm(layer.outer.plus(layer.inner.activated(x, self._activation), x))
        return x

    def _token_types(self, sequences: Sequences, pairs: EncodedPairs) -> np.ndarray:
        """int64 (tokens,)"""
        if len(self._type_embeddings) < 2 or not self._layout.sends_types:
            return np.zeros(len(sequences.ids), dtype=np.int64)
        return token_types(sequences, pairs.prefix_lengths, self._layout)

    def _positions(self, sequences: Sequences) -> OffsetArray:
        """int64 (tokens,). RoBERTa numbers positions from its pad token's id on and skips pad tokens in the text."""
        if self._pad_token_id is None:
            return sequences.positions
        is_text = sequences.ids != self._pad_token_id
        total = np.concatenate(([0], np.cumsum(is_text)))
        since_start = total[1:] - np.repeat(total[sequences.starts[:-1]], sequences.lengths)
        positions: OffsetArray = since_start * is_text + self._pad_token_id
        return positions


def _read_layer(reader: LayerReader, name: str, config: PretrainedConfig, *, last: bool) -> _Layer:
    width, inner = config.hidden_size, config.intermediate_size
    parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
    return _Layer(
        projections=tuple(
            reader.linear(*group, width=width, out=len(group) * width)
            for group in ((parts[:1], parts[1:]) if last else (parts,))
        ),
        out=reader.linear(f"{name}.attention.output.dense", width=width, out=width),
        attention_norm=LayerNorm.read(reader, f"{name}.attention.output.LayerNorm", width, config.layer_norm_eps),
        inner=reader.linear(f"{name}.intermediate.dense", width=width, out=inner),
        outer=reader.linear(f"{name}.output.dense", width=inner, out=width),
        output_norm=LayerNorm.read(reader, f"{name}.output.LayerNorm", width, config.layer_norm_eps),
    )
