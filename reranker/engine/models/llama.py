"""Decoders with one logit: Llama 2 and 3, Mistral, Qwen2 and 3, Gemma 1 to 3, over a checkpoint's weights.

What is not computed, without changing the logits:
- padding: linear layers run over packed tokens, and attention pads only to the longest sequence of a block;
- the query prefix of all candidates but the first: attention is causal, so its keys and values do not depend on the
  passage;
- in the last layer, everything but keys and values for all tokens except the pooled one: nothing reads it;
- tokens after the pooled one (a passage may end in pad tokens): no earlier token attends to them.
With bidirectional attention, or the mean of all tokens, no prefix is shared and all tokens of a pair are computed.

Sources: Llama (Touvron et al., 2023), RMS norm (Zhang and Sennrich, 2019), rotary embeddings (Su et al., 2021),
grouped-query attention (Ainslie et al., 2023); tensor names and rounding follow transformers.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PretrainedConfig

from reranker.checkpoints.weights import Weights
from reranker.engine.memory import PREFIX_CACHE_TOKENS, PREFIX_PASS_TOKENS
from reranker.engine.models import ForwardPass
from reranker.engine.models.attention import MakeAttention, attention_over
from reranker.engine.models.decoder_config import FAMILIES, activation_of, scores_of, unsupported
from reranker.engine.models.decoder_layer import DecoderLayer, read_decoder_layer, read_norm
from reranker.engine.models.heads import Heads, KeysValues
from reranker.engine.models.linear import LayerReader, Linear, pad_rows
from reranker.engine.models.norms import RmsNorm
from reranker.engine.models.packed import Sequences
from reranker.engine.models.pooled import Pads, PooledToken
from reranker.engine.models.prefixes import PrefixCache, PrefixLayers
from reranker.engine.models.rope import rope_tables
from reranker.engine.models.rotary import rotate_
from reranker.engine.models.transfer import in_input_order, on_device
from reranker.engine.packing import pack
from reranker.engine.shape import GEMMAS
from reranker.errors import CheckpointError
from reranker.layout import PadToken
from reranker.pairs import EncodedPairs, IntArray, OffsetArray

__all__ = ["FAMILIES", "LlamaModel", "unsupported"]


class LlamaModel:
    """See ScoringModel."""

    pads = False

    def __init__(
        self,
        weights: Weights,
        config: PretrainedConfig,
        max_pair_tokens: int,
        pad: PadToken | None = None,
        *,
        dtype: torch.dtype,
        device: str,
        attention: MakeAttention = attention_over,
        causal: bool = True,
        pooling: Literal["last", "mean"] = "last",
        skips_pad_ids: bool = True,
        temperature: float = 1.0,
        logit_cap: float | None = None,
    ) -> None:
        """pad: read logits at this pad token; None reads them at the last token.

        causal: False attends in both directions. pooling: what the head reads, the last token or the mean of all.
        skips_pad_ids: whether tokens at the end of a pair that spell the config's pad id are skipped for the last
        one, as Hugging Face's classifiers do; a language model reads its logits at the very last token.
        temperature: logits are divided by it. logit_cap: see `logit_cap_of`.

        Raises CheckpointError when the weights do not match the config, or where a mean is to be read at a pad token.
        """
        if pad is not None and pooling == "mean":
            raise CheckpointError("a mean of all tokens is not read at a pad token: set pooling to last")
        skipped_id = config.pad_token_id if skips_pad_ids else None
        self._pooled = PooledToken(pad, skipped_id, whole=not causal or pooling == "mean")
        self.shares_prefixes = not self._pooled.whole
        self._causal, self._pooling = causal, pooling
        self._temperature, self._logit_cap = temperature, logit_cap
        self._attention_over, self._scores = attention, scores_of(config)
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._heads = Heads(config.num_attention_heads, config.num_key_value_heads, size)
        self._activation = activation_of(config)
        reader = LayerReader(weights, dtype, device)
        width = config.hidden_size
        self._embedding = reader.tensor("model.embed_tokens.weight", config.vocab_size, width)
        if config.model_type in GEMMAS:  # which scales each embedding by this number, rounded
            self._embedding *= torch.tensor(width**0.5, dtype=dtype, device=device)
        last = config.num_hidden_layers - 1
        self._layers = [
            read_decoder_layer(reader, config, self._heads, n, pooled=n == last and pooling == "last")
            for n in range(last + 1)
        ]
        self._norm = read_norm(reader, "model.norm", config, width)
        # In float32: it costs nothing, and logits rounded to bf16 tie.
        self._head = LayerReader(weights, torch.float32, device).linear("score", width=width, out=1, bias=False)
        self._rotations = rope_tables(config, max_pair_tokens, like=self._embedding)
        self._prefix_cache = PrefixCache(PREFIX_CACHE_TOKENS)

    def pass_tokens(self, lengths: IntArray) -> IntArray:
        return lengths if self._pooled.pad is None else lengths + 1

    def prepare(self, pairs: EncodedPairs) -> ForwardPass:
        """Computes the prefixes that are not cached."""
        parts, pads = self._pooled.split(pairs), None
        if self._pooled.pad is not None:
            pads = Pads(self._pooled.pad, self._pooled.is_padded(pairs)[parts.sequences.input_index])
        return partial(self._logits, parts.sequences, parts.rows, self._prefix_layers(parts.prefix_ids), pads)

    def clear_cache(self) -> None:
        self._prefix_cache.clear()

    @torch.inference_mode()
    def _logits(
        self, sequences: Sequences, pooled: OffsetArray, prefixes: list[PrefixLayers], pads: Pads | None
    ) -> Tensor:
        hidden, _ = self._run(sequences, pooled, prefixes, pads, keep=False)
        normed = self._norm(hidden).float()
        if self._pooling == "mean":
            lengths = on_device(sequences.lengths, normed.device)
            normed = torch.segment_reduce(normed[: len(sequences.ids)], "mean", lengths=lengths, unsafe=True)
        logits = self._head(normed) / self._temperature
        if self._logit_cap is not None:
            logits = torch.tanh(logits / self._logit_cap) * self._logit_cap
        return in_input_order(logits, sequences)

    @torch.inference_mode()
    def _prefix_layers(self, prefix_ids: list[IntArray]) -> list[PrefixLayers]:
        """Keys and values of each prefix; those not cached are computed, in passes of bounded size."""
        found = [self._prefix_cache.get(ids) for ids in prefix_ids]
        missing = np.array([index for index, layers in enumerate(found) if layers is None], dtype=np.intp)
        lengths = np.array([len(prefix_ids[index]) for index in missing], dtype=np.int64)
        for batch in pack(lengths, PREFIX_PASS_TOKENS, padded=False):
            indices = missing[batch]
            sequences = Sequences.pack([prefix_ids[index] for index in indices])
            _, computed = self._run(sequences, sequences.starts[1:] - 1, [], None, keep=True)
            for index, *layers in zip(indices[sequences.input_index], *computed, strict=True):
                found[index] = layers
                self._prefix_cache.put(prefix_ids[index], layers)
        return [layers for layers in found if layers is not None]

    def _run(
        self,
        sequences: Sequences,
        pooled: OffsetArray,
        prefixes: list[PrefixLayers],
        pads: Pads | None,
        *,
        keep: bool,
    ) -> tuple[Tensor, list[list[KeysValues]]]:
        """Hidden states before the final norm: (sequences, width), of each sequence's pooled token or pad token; or
        of all tokens, (at least tokens, width).

        pooled: (sequences,), rows of the pooled tokens. Pad tokens are computed behind all sequences, one for each:
        nothing attends to them, so they need only queries. prefixes: by prefix index. keep: also return keys and
        values by layer and sequence; else that list is empty.
        """
        device = self._embedding.device
        attention = self._attention_over(
            sequences, self._heads, causal=self._causal, like=self._embedding, **self._scores
        )
        ids, places = sequences.ids, sequences.positions
        tokens, count = len(ids), 0
        if pads is not None:
            ids, places, pooled = pads.behind(ids, places, pooled)
            count = len(sequences)
        positions, last = on_device(places, device), on_device(pooled, device)
        rotated = {
            kind: tuple(pad_rows(table.index_select(0, positions)) for table in tables)
            for kind, tables in self._rotations.items()
        }
        x = pad_rows(functional.embedding(on_device(ids, device), self._embedding))
        query, key, _ = self._heads
        kept: list[list[KeysValues]] = []
        for number, layer in enumerate(self._layers):
            layer_prefixes = [layers[number] for layers in prefixes]
            normed = layer.input_norm(x)
            cos, sin = rotated[layer.rope]
            if len(layer.projections) == 1:
                qkv = self._project(layer, 0, normed, cos, sin, query, key)
                kv = qkv[:, query:]
                if not count:
                    attended = attention.all_tokens(qkv, layer_prefixes)
                else:
                    of_tokens = attention.all_tokens(qkv[:tokens], layer_prefixes)
                    of_pads = attention.one_token(qkv[tokens : tokens + count, :query], kv[:tokens], layer_prefixes)
                    attended = pad_rows(torch.cat((of_tokens, of_pads)))
                del qkv
            else:
                q = self._project(layer, 0, normed[last], cos[last], sin[last], query, 0)
                kv = self._project(layer, 1, normed, cos, sin, 0, key)
                attended, x = attention.one_token(q, kv[:tokens], layer_prefixes), x[last]
            if keep:
                # Copies: a view would keep the tensors of the whole pass alive.
                copies = (
                    kv[start:end].transpose(0, 1).clone(memory_format=torch.contiguous_format)
                    for start, end in pairwise(sequences.starts)
                )
                kept.append([KeysValues(both[:key], both[key:]) for both in copies])
            x = _plus(layer.out, layer.attended_norm, attended, x)
            del kv, attended  # MemoryPlan assumes that they are freed before the MLP
            normed = layer.mlp_norm(x)
            gate = layer.gate.activated(normed, self._activation)
            x = _plus(layer.down, layer.output_norm, layer.up.times(normed, gate), x)
            del gate
        return x, kept

    def _project(
        self, layer: DecoderLayer, which: int, x: Tensor, cos: Tensor, sin: Tensor, query: int, key: int
    ) -> Tensor:
        """Rotated queries, rotated keys, and values: (tokens, heads, head size).

        query, key: number of query and key heads of the projection; it has as many value heads as key heads.
        """
        out = layer.projections[which](x).view(len(x), -1, self._heads.size)
        if layer.query_norm is not None and query:
            out[:, :query] = layer.query_norm(out[:, :query])
        if layer.key_norm is not None and key:
            out[:, query : query + key] = layer.key_norm(out[:, query : query + key])
        rotate_(out[:, : query + key], cos, sin)
        return out


def _plus(linear: Linear, norm: RmsNorm | None, x: Tensor, residual: Tensor) -> Tensor:
    if norm is None:
        return linear.plus(x, residual)
    out = linear(x)
    del x  # MemoryPlan assumes that it is freed before the norm
    return norm(out).add_(residual)
