"""Encoder-decoders whose score is read from the first decoder step: T5 and mT5, over a checkpoint's weights.

What is not computed, without changing the logits:
- padding: linear layers run over packed tokens, and attention pads only to the longest sequence of a block;
- scores of the decoder's self-attention: the start token attends to itself alone, so its output is its value;
- rows of the LM head other than those of the tokens that carry the score.

float16 is refused: T5's hidden states exceed its range. Everything runs in the model's dtype. transformers keeps `wo`
in float32 only under float16, so in bfloat16 the two round alike.

Sources: T5 (Raffel et al., 2020), mT5 (Xue et al., 2021), scoring by first-step tokens (MonoT5, Nogueira et al.,
2020); tensor names and rounding follow transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PretrainedConfig

from reranker.checkpoints.weights import Weights
from reranker.engine.models import ForwardPass
from reranker.engine.models.attention import BlockAttention, longest_block
from reranker.engine.models.config_keys import unknown_key
from reranker.engine.models.heads import Heads
from reranker.engine.models.linear import LayerReader, pad_rows
from reranker.engine.models.packed import Sequences
from reranker.engine.models.t5_layers import (
    ACTIVATIONS,
    read_bias,
    read_decoder_layer,
    read_encoder_layer,
    read_norm,
)
from reranker.engine.models.transfer import in_input_order, on_device
from reranker.errors import CheckpointError
from reranker.pairs import EncodedPairs, IntArray

FAMILIES = frozenset({"t5", "mt5"})
_CONFIG_KEYS = frozenset(
    {"d_ff", "d_kv", "d_model", "dense_act_fn", "feed_forward_proj", "is_gated_act", "layer_norm_epsilon"}
    | {"num_decoder_layers", "num_heads", "num_layers", "relative_attention_max_distance"}
    | {"relative_attention_num_buckets", "scale_decoder_outputs", "vocab_size"}
    # What transformers ignores in old files, and what it sets itself.
    | {"initializer_factor", "is_decoder", "n_positions", "tokenizer_class"}
)
# Names of the embeddings: files have some of them, and transformers ties the others to those.
_EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")


def unsupported(config: PretrainedConfig) -> str | None:
    """Why this forward cannot run a checkpoint; None if it can."""
    if config.model_type not in FAMILIES:
        return f"its architecture is {config.model_type}"
    if not config.is_encoder_decoder:
        return "it has no decoder"
    if min(config.num_layers, config.num_decoder_layers) < 1:
        return "it has no layers"
    if config.dense_act_fn not in ACTIVATIONS:
        return f"its activation is {config.dense_act_fn}"
    buckets, distance = config.relative_attention_num_buckets, config.relative_attention_max_distance
    if not 1 <= buckets // 4 < distance:
        return f"its positions have {buckets} buckets up to distance {distance}"
    return unknown_key(config, _CONFIG_KEYS)


class T5Model:
    """See ScoringModel. A pair's logit is a weighted sum of a few logits of the first decoder step."""

    pads = False

    def __init__(
        self,
        weights: Weights,
        config: PretrainedConfig,
        token_weights: Mapping[int, float],
        *,
        dtype: torch.dtype,
        device: str,
    ) -> None:
        """token_weights: by token id. {true: 1, false: -1} gives MonoT5's score, the log odds of `true` to `false`.

        Raises CheckpointError for token ids outside the vocabulary, a config without `decoder_start_token_id`,
        float16, or weights that do not match the config.
        """
        if dtype is torch.float16:
            raise CheckpointError("T5 exceeds the range of float16: use bfloat16 or float32")
        start = getattr(config, "decoder_start_token_id", None)
        if start is None:
            raise CheckpointError("the config has no decoder_start_token_id: set it in config.json, usually to 0")
        if not token_weights:
            raise CheckpointError("no token carries the score: name one, or two with weights of 1 and -1")
        self._heads = Heads(config.num_heads, config.num_heads, config.d_kv)
        reader, width = LayerReader(weights, dtype, device), config.d_model
        name = _table_name(weights, "encoder.embed_tokens.weight")
        self._embedding = reader.tensor(name, config.vocab_size, width)
        self._bias = read_bias(LayerReader(weights, torch.float32, device), config)
        self._encoder = [read_encoder_layer(reader, config, n) for n in range(config.num_layers)]
        self._encoder_norm = read_norm(reader, "encoder.final_layer_norm", config)
        self._start = _rows(weights, "decoder.embed_tokens.weight", [start], config).to(device, dtype)
        self._decoder = [read_decoder_layer(reader, config, n) for n in range(config.num_decoder_layers)]
        self._decoder_norm = read_norm(reader, "decoder.final_layer_norm", config)
        factors = torch.tensor([list(token_weights.values())], dtype=torch.float32)
        if config.model_type == "t5" and config.scale_decoder_outputs:  # T5 1.0, but neither 1.1 nor mT5
            factors *= width**-0.5
        self._head = (factors @ _rows(weights, "lm_head.weight", list(token_weights), config)).to(device)

    def pass_tokens(self, lengths: IntArray) -> IntArray:
        return lengths

    def prepare(self, pairs: EncodedPairs) -> ForwardPass:
        return partial(self._logits, Sequences.pack([pairs.pair_ids(pair) for pair in range(len(pairs))]))

    def clear_cache(self) -> None:
        """There is no cache."""

    @torch.inference_mode()
    def _logits(self, sequences: Sequences) -> Tensor:
        device = self._embedding.device
        bias = self._bias.over(longest_block(sequences.lengths, device))
        attention = BlockAttention(sequences, self._heads, causal=False, device=device, bias=bias, scale=1.0)
        first = self._first_step(self._encode(sequences, attention), attention, len(sequences))
        return in_input_order(functional.linear(first.float(), self._head), sequences)

    def _encode(self, sequences: Sequences, attention: BlockAttention) -> Tensor:
        """(tokens and rows of pad_rows, width)"""
        x = pad_rows(functional.embedding(on_device(sequences.ids, self._embedding.device), self._embedding))
        for layer in self._encoder:
            qkv = layer.projection(layer.norm(x)).view(len(x), -1, self._heads.size)
            x = layer.out.plus(attention.all_tokens(qkv, []), x)
            del qkv  # MemoryPlan assumes that it is freed before the MLP
            x = layer.feed_forward(x)
        return self._encoder_norm(x)

    def _first_step(self, encoded: Tensor, attention: BlockAttention, count: int) -> Tensor:
        """What the LM head reads for each of `count` sequences, (sequences, width).

        x is one row, the same for all sequences, until the first layer's attention over the encoder's tokens.
        """
        x, size = self._start, self._heads.size
        for layer in self._decoder:
            x = layer.out.plus(layer.value(layer.norm(x)), x)
            q = layer.query(layer.cross_norm(x)).view(len(x), -1, size).expand(count, -1, -1)
            kv = layer.keys_values(encoded).view(len(encoded), -1, size)
            x = layer.cross_out.plus(attention.one_token(q, kv, []), x.expand(count, -1).contiguous())
            x = layer.feed_forward(x)
        return self._decoder_norm(x)


def _table_name(weights: Weights, wanted: str) -> str:
    """The name under which a checkpoint has the table that transformers would use as `wanted`."""
    return next((name for name in (wanted, *_EMBEDDINGS) if name in weights), _EMBEDDINGS[0])


def _rows(weights: Weights, wanted: str, tokens: list[int], config: PretrainedConfig) -> Tensor:
    """These tokens' rows of a table, float32 (tokens, width) on the CPU. Raises CheckpointError."""
    outside = [token for token in tokens if not 0 <= token < config.vocab_size]
    if outside:
        raise CheckpointError(
            f"token {outside[0]} is outside the model's vocabulary: use one of 0 to {config.vocab_size - 1}"
        )
    name = _table_name(weights, wanted)
    rows = weights.rows(name, tokens)
    if rows.shape[1] != config.d_model:
        raise CheckpointError(
            f"rows of {name} have {rows.shape[1]} columns, where the config requires {config.d_model}"
        )
    return rows
